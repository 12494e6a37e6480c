"""Users' files in, and the split. Oracles: the file's own characters, Python's json and csv writers, invariants."""

import csv
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.system import load_file, read_json
from minillm.text import corpus, read_documents, read_records, read_text, split, split_stream, text_field
from minillm.text.corpus import split_documents

REAL = Path(__file__).parents[3] / "shared" / "data"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_documents_are_what_stands_between_blank_lines(tmp_path):
    path = write(tmp_path, "a.txt", "\n \nA tale.\n  Its end.  \n\n \t\n\nAnother.\n\n")
    assert read_documents(path) == ["A tale.\n  Its end.", "Another."]


def test_a_file_without_a_blank_line_is_one_document(tmp_path):
    assert read_documents(write(tmp_path, "a.txt", "one\ntwo\n")) == ["one\ntwo"]


def test_a_file_as_one_document_keeps_every_character(tmp_path):
    text = "  one\n\n\ntwo  \n\n"
    assert read_documents(write(tmp_path, "a.txt", text), documents="file") == [text]


@given(st.lists(st.text("ab \t\n", min_size=1, max_size=12)))
def test_cutting_at_blank_lines_loses_only_blank_lines_and_trailing_space(pieces):
    def lines_with_text(text: str) -> list[str]:  # white space before a line end, other than a document's last, stays
        return [line.rstrip() for line in text.split("\n") if line.strip()]

    text = "\n\n".join(pieces)
    documents = split_documents(text)
    assert lines_with_text("\n\n".join(documents)) == lines_with_text(text)
    assert all(not re.search(r"\n\s*\n", document) and document.strip() for document in documents)
    assert split_documents("\n\n".join(documents)) == documents


def test_byte_order_mark_goes_and_line_ends_become_one_kind(tmp_path):
    assert read_text(write(tmp_path, "a.txt", b"\xef\xbb\xbfone\r\ntwo\rthree\n")) == "one\ntwo\nthree\n"


def test_json_lines_give_their_text_in_order(tmp_path):
    texts = ["A tale.\n\nWith a blank line.", 'quotes " and \u2028 separators', "é"]
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    assert read_documents(write(tmp_path, "a.jsonl", "\n\n".join(lines) + "\n")) == texts


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.txt", b"", "the file is empty"),
        ("a.txt", b" \n\n\t\n", "holds no text"),
        ("a.txt", b"text\nand \x00\x01", "binary file (a zero byte at byte offset 9, line 2)"),
        ("a.txt", "abc".encode("utf-16"), "iconv -f UTF-16 -t UTF-8"),
        ("a.txt", "abc".encode("utf-32"), "iconv -f UTF-32 -t UTF-8"),
        ("a.txt", "one\ntwo caf\u00e9s\n".encode("latin-1"), "not UTF-8: byte 0xe9 at byte offset 11, line 2"),
        ("a.txt", b"\xef\xbb\xbfone\ntwo \xff", "not UTF-8: byte 0xff at byte offset 11, line 2"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b"\n', "a.jsonl:2: expected one JSON object on the line"),
        ("a.jsonl", b'{"text": "a"}\n\n["b"]\n', "a.jsonl:3: expected a JSON object, {...}, found ["),
        ("a.jsonl", b'{"txt": "a"}\n', "a.jsonl:1: expected a field \"text\", found 'txt'"),
        ("a.jsonl", b'{"text": "a"}\n{"text": 3}\n', 'a.jsonl:2: expected "text" to be a string, found 3'),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "a.jsonl:1:"),
        ("a.jsonl", b'{"text": "  "}\n', "holds no text"),
        ("a.jsonl", b"\n\n", "holds no record"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl:1:"),
        ("a.json", b'{"text": "a"}', "a.json:1: expected a JSON list of objects"),
        ("a.json", b'[\n{"text": "a"},\n]', "expected a JSON list of objects"),
        ("a.json", b'[\n{"text": "a"},\n\n"b"]', "a.json:4: expected a JSON object"),
        ("a.csv", b'text,label\n"a\nb",1\nc\n', "a.csv:4: expected 2 values (text, label), found 1"),
        ("a.csv", b'text,label\n"a,1\n', "a.csv:2: expected comma-separated values"),
        ("a.csv", b"text,text\na,b\n", "a.csv:1: expected different column names"),
        ("a.tsv", b"text\tlabel\na\t1\nb\t2\t3\n", "a.tsv:3: expected 2 values (text, label), found 3"),
        ("a.tsv", b"text\tlabel\n", "holds no record"),
    ],
)
def test_a_bad_file_gets_one_sentence_that_says_what_and_where(tmp_path, name, content, complaint):
    path = write(tmp_path, name, content)
    with pytest.raises(ValueError, match=re.escape(complaint)) as error:
        read_documents(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_a_file_that_is_not_there_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(ValueError, match="there is no such file"):
        read_documents(tmp_path / "none.txt")
    with pytest.raises(ValueError, match="there is no such file"):
        read_documents(write(tmp_path, "a.txt", "a") / "none.txt")
    with pytest.raises(ValueError, match="this is a folder"):
        read_documents(tmp_path)
    with pytest.raises(ValueError, match='choose "blank-line" or "file"'):
        read_documents(tmp_path / "a.txt", documents="line")
    with pytest.raises(ValueError, match=r"\.jsonl, \.json, \.csv, \.tsv"):
        read_records(tmp_path / "a.txt")


@pytest.mark.parametrize("read", [read_documents, read_json, load_file])
def test_a_device_and_a_pipe_that_has_a_name_are_refused_and_a_shell_s_pipe_is_read(tmp_path, read):
    os.mkfifo(tmp_path / "a.txt")  # into which nobody writes
    (tmp_path / "link.txt").symlink_to("/dev/zero")  # which has no end
    for name in ("a.txt", "link.txt"):
        with pytest.raises(ValueError, match=f"{name} is no file but a device or a pipe: name a file"):
            read(tmp_path / name)
    out, into = os.pipe()
    os.write(into, b"a text\n")
    os.close(into)
    assert read_documents(f"/dev/fd/{out}") == ["a text"]
    os.close(out)


def test_every_byte_string_gives_documents_or_a_value_error(tmp_path):
    @given(st.binary(), st.sampled_from(["a.txt", "a.jsonl", "a.json", "a.csv", "a.tsv"]))
    def holds(content, name):
        try:
            assert all(document.strip() for document in read_documents(write(tmp_path, name, content)))
        except ValueError as error:
            assert not isinstance(error, UnicodeError | json.JSONDecodeError)

    holds()


records = st.lists(
    st.fixed_dictionaries(
        {"text": st.text(st.characters(codec="utf-8", exclude_characters="\r\0")), "n": st.integers()}
    ),
    min_size=1,
)


@given(records, st.sampled_from([None, 1, "\t"]))
def test_records_come_back_from_json_with_the_lines_they_begin_on(tmp_path_factory, records, indent):
    folder = tmp_path_factory.getbasetemp()
    path = write(folder, "a.jsonl", "\n".join(json.dumps(record) for record in records))
    assert read_records(path) == list(enumerate(records, 1))
    text = json.dumps(records, indent=indent)
    begins = [text.count("\n", 0, at.start()) + 1 for at in re.finditer(r'\{(?=\s*"text": )', text)]
    if len(begins) == len(records):  # a text that holds what looks like the head of a record is one too many
        assert read_records(write(folder, "a.json", text)) == list(zip(begins, records))


@given(records)
def test_tables_come_back_from_the_csv_writer(tmp_path_factory, records):
    path = tmp_path_factory.getbasetemp() / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["text", "n"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    found = read_records(path)
    assert [record for _, record in found] == [{"text": r["text"], "n": str(r["n"])} for r in records]
    lines = [2]
    for record in records[:-1]:
        lines.append(lines[-1] + 1 + record["text"].count("\n"))
    assert [line for line, _ in found] == lines


def test_a_table_may_hold_texts_of_any_length(tmp_path):
    limit = csv.field_size_limit()
    text = "long " * 50_000
    assert read_documents(write(tmp_path, "a.csv", f"text\n{text}\n")) == [text]
    assert csv.field_size_limit() == limit


def test_columns_name_the_values_of_a_table_without_a_header(tmp_path):
    expected = {"text": 'no " movement', "label": "0"}
    bare = write(tmp_path, "bare.tsv", 'no " movement\t0\n')
    assert read_records(bare, forms=[("text", "label")]) == [(1, expected)]
    headed = write(tmp_path, "headed.tsv", 'label\ttext\n0\tno " movement\n')
    assert read_records(headed, forms=[("text", "label")]) == [(2, expected)]


def test_the_field_of_a_record_is_checked_by_name():
    assert text_field("a.jsonl", 7, {"prompt": "p"}, "prompt") == "p"
    with pytest.raises(ValueError, match=r"a\.jsonl:7: expected a field .chosen., found 'prompt'"):
        text_field("a.jsonl", 7, {"prompt": "p"}, "chosen")


@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(0, 5), st.integers(1, 20))
def test_a_split_puts_every_document_on_one_side_and_every_group_too(n, fraction, seed, different):
    documents, groups = list(range(n)), [index % different for index in range(n)]
    for labels in (None, groups):
        if labels is not None and len(set(labels)) < 2:
            continue
        train, valid = split(documents, fraction, seed, labels)
        assert sorted(train + valid) == documents and train and valid
        assert train == sorted(train) and valid == sorted(valid)
        assert (train, valid) == split(documents, fraction, seed, labels)
        if labels is None:
            assert len(valid) == min(max(round(fraction * n), 1), n - 1)
        else:
            assert not {labels[i] for i in train} & {labels[i] for i in valid}


def test_every_document_is_as_likely_as_another_to_be_validation():
    counts = [0] * 10
    for seed in range(1000):
        for index in split(range(10), 0.2, seed)[1]:
            counts[index] += 1
    assert all(abs(count - 200) < 5 * (1000 * 0.2 * 0.8) ** 0.5 for count in counts)


def test_a_split_that_cannot_be_made_says_so():
    with pytest.raises(ValueError, match="at least 2 documents, found 1"):
        split(["a"])
    with pytest.raises(ValueError, match="not near copies of each other, found 1"):
        split(["a", "b", "c"], groups=[0, 0, 0])
    for fraction in (0, 1, -0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            split(["a", "b"], fraction)
    with pytest.raises(ValueError, match="too short to split"):
        split_stream("a")


@given(st.text(min_size=2, max_size=300))
def test_a_stream_is_cut_where_nanogpt_cuts_it(text):
    train, valid = split_stream(text, 0.1)
    assert train == text[: int(len(text) * 0.9)] and train + valid == text


@pytest.mark.skipif(not REAL.exists(), reason="the real inputs are not beside the repository")
def test_real_files_are_read_whole():
    path = REAL / "tinyshakespeare.txt"
    (stream,) = read_documents(path, documents="file")
    assert stream == path.read_text(encoding="utf-8")
    train, valid = split_stream(stream)
    assert (len(train), len(valid)) == (1_003_854, 111_540)
    speeches = read_documents(path)
    assert len(speeches) == 7222 and speeches[1] == "All:\nSpeak, speak."
    assert "".join("".join(speeches).split()) == "".join(stream.split())
    sizes = [len(read_records(REAL / "sst2" / f"{part}.tsv", [("text", "label")])) for part in ("train", "dev", "test")]
    assert sizes == [6920, 872, 1821]
    assert [record for _, record in read_records(REAL / "instructions.json")] == json.loads(
        (REAL / "instructions.json").read_text(encoding="utf-8")
    )


def test_the_worked_examples_hold():
    import doctest

    assert doctest.testmod(corpus).failed == 0
