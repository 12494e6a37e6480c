"""Tables: which row is the header, what the columns are called, how cells are cut. Oracle: Python's csv writer."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.text import read_each, read_records, text_field
from minillm.text.tables import own_names

LABELLED = [("text", "label")]
ASKED = [("instruction", "input?", "output", "system+"), ("prompt", "completion", "input+", "system+")]
EXPECTED = [{"text": "A fine film.", "label": "good"}, {"text": "A dull film.", "label": "bad"}]


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path, forms=LABELLED):
    return [record for _, record in read_records(path, forms)]


@pytest.mark.parametrize(
    "header",
    [
        "text,label",
        "Text,Label",
        "TEXT, label ",
        "review,sentiment",
        "Sentence,Class",
        "content,target",
        "\ufefftext,label",
    ],
)
def test_a_header_is_known_in_any_case_by_other_names_and_behind_a_mark(tmp_path, capsys, header):
    path = write(tmp_path, "a.csv", f"{header}\nA fine film.,good\nA dull film.,bad\n")
    assert read(path) == EXPECTED
    said = capsys.readouterr().err
    other = "text" not in header.lower()
    assert said.count("\n") == other and (f'as "{"text"}"' in said) == other


def test_columns_may_stand_in_any_order_among_others(tmp_path):
    path = write(tmp_path, "a.csv", "id,sentiment,note,review\n7,good,x,A fine film.\n8,bad,,A dull film.\n")
    assert [{name: one[name] for name in ("text", "label")} for one in read(path)] == EXPECTED


def test_a_file_without_a_header_says_so_once(tmp_path, capsys):
    path = write(tmp_path, "a.tsv", "A fine film.\tgood\nA dull film.\tbad\n")
    assert read(path) == EXPECTED
    assert capsys.readouterr().err == f"{path}: has no header; the first row is read as data (text, label)\n"


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.csv", "text,klass\nA fine film.,good\n", "text, klass"),
        ("a.csv", "id,text,klass\n1,A fine film.,good\n", "id, text, klass"),
        ("a.csv", "plot,opinion\n" + "A film.,good\nB film.,bad\n" * 4, "plot, opinion"),
        ("a.tsv", "plot\topinion\n" + "A film.\t1\nB film.\t0\nC film.\t2\n", "plot, opinion"),
        ("a.csv", "a,b,c,d\n1,2,3,4\n", "a, b, c, d"),
    ],
)
def test_a_header_that_cannot_be_read_is_refused_with_its_names(tmp_path, name, text, found):
    with pytest.raises(ValueError) as error:
        read_records(write(tmp_path, name, text), LABELLED)
    assert str(error.value).endswith(
        f':1: expected a header with "text" and "label"; name the columns so: found {found}'
    )


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("Say it.,It.", {"instruction": "Say it.", "output": "It."}),
        ("Say it.,Loud.,It.", {"instruction": "Say it.", "input": "Loud.", "output": "It."}),
    ],
)
def test_without_a_header_a_form_is_taken_by_its_number_of_columns(tmp_path, row, expected):
    assert read(write(tmp_path, "a.csv", row + "\n"), ASKED) == [expected]


def test_our_own_names_come_before_the_names_of_others():
    assert own_names(["answer", "prompt", "completion"], ASKED) == {"prompt": "prompt", "completion": "completion"}
    assert own_names(["question", "answer"], ASKED) == {"question": "prompt", "answer": "completion"}
    dolly = ["instruction", "context", "response", "category"]
    assert own_names(dolly, ASKED) == {"instruction": "instruction", "context": "input", "response": "output"}
    assert own_names(["text"], LABELLED) is None
    pair = [("text_a", "text_b", "label")]
    assert own_names(["question", "sentence", "label"], pair) == {
        "question": "text_a", "sentence": "text_b", "label": "label",
    }  # fmt: skip


def test_json_records_may_have_other_names_too(tmp_path, capsys):
    path = write(tmp_path, "a.jsonl", '{"Review": "A fine film.", "sentiment": "good", "n": 1}\n')
    assert read(path) == [{"text": "A fine film.", "label": "good", "n": 1}]
    assert capsys.readouterr().err == f'{path}: reads "Review" as "text", "sentiment" as "label"\n'


cells = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1).filter(str.strip)


@given(st.lists(st.tuples(cells, st.sampled_from(["good", "bad"])), min_size=1), st.sampled_from(",;\t|"))
def test_quotes_line_breaks_and_delimiters_come_back_from_the_csv_writer(tmp_path_factory, rows, delimiter):
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows([("text", "label"), *rows])
    path = write(tmp_path_factory.getbasetemp(), "a.csv", out.getvalue())
    assert [(record["text"], record["label"]) for record in read(path)] == rows


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_quoted_tsv_is_unquoted_and_a_quotation_mark_of_a_text_stays(tmp_path, quoting):
    rows = [('he said "no"', "bad"), ("two\tcells", "good"), ("two\nlines", "bad"), ("plain", "good")]
    for some in (rows, rows[::3], rows[1:3]):
        out = io.StringIO()
        csv.writer(out, "excel-tab", quoting=quoting, lineterminator="\n").writerows([("text", "label"), *some])
        found = read(write(tmp_path, "a.tsv", out.getvalue()))
        assert [(record["text"], record["label"]) for record in found] == some
    glue = 'sentence\tlabel\n" open\t1\nclosed "\t0\n"whole"\t1\nno " mark\t0\n'
    assert [one["text"] for one in read(write(tmp_path, "a.tsv", glue))] == [
        '" open',
        'closed "',
        '"whole"',
        'no " mark',
    ]


def test_rows_with_too_many_values_are_left_out_and_shown_while_most_are_good(tmp_path, capsys):
    path = write(tmp_path, "a.csv", "text,label\na,1\nb,c,2\nd,3\n")
    assert read_each(path, LABELLED, lambda line, record: text_field(path, line, record)) == ["a", "d"]
    assert capsys.readouterr().err == (
        f"1 of 3 records are left out:\n  {path}:3: expected 2 values (text, label), found 3\n"
    )


def test_half_of_the_records_stop_with_the_first(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"text": "a"}\n{"text": 1}\n{"text": 2}\n')
    with pytest.raises(
        ValueError, match=r'a.jsonl:2: expected "text" to be a string, found 1 \(and so with 2 of 3 rec'
    ):
        read_each(path, [("text",)], lambda line, record: text_field(path, line, record))


def test_records_that_share_a_line_are_told_by_their_number(tmp_path):
    path = write(tmp_path, "a.json", '[{"text": "a"}, {"text": 1}]')
    with pytest.raises(ValueError, match=r'a\.json:1: record 2: expected "text" to be a string'):
        read_each(path, [("text",)], lambda line, record: text_field(path, line, record))


def test_a_json_file_may_hold_an_object_a_line(tmp_path):
    path = write(tmp_path, "a.json", '{"text": "a"}\n\n{"text": "b"}\n')
    assert read_records(path) == [(1, {"text": "a"}), (3, {"text": "b"})]
