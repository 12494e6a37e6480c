"""Files in blocks against the same files read whole; copies in a stream against a set of texts."""

import gzip
import json
import random

import numpy as np
import pytest

from minillm.text import (
    Seen,
    block_form,
    block_texts,
    corpus,
    exact_keys,
    near_duplicates,
    near_keys,
    read_blocks,
    read_documents,
    split,
    text_files,
)


def made_text(seed, size=4000, letters="ab é\u2003\n\n\n \t"):
    draw = random.Random(seed)
    return "".join(draw.choice(letters) for _ in range(size))


def documents_in(path, size, documents="blank-line"):
    found, wrong = [], []
    for block in read_blocks(path, block_form(path, documents), size=size):
        texts, complaints = block_texts(block)
        found, wrong = found + texts, wrong + complaints
    return found, wrong


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("packed", [False, True])
def test_blocks_of_any_size_hold_the_documents_of_the_whole_file(tmp_path, newline, packed):
    content = ("\ufeff" + made_text(1)).replace("\n", newline).encode()
    whole = tmp_path / "a.txt"
    whole.write_bytes(content)
    path = tmp_path / "b.txt.gz" if packed else whole
    path.write_bytes(gzip.compress(content) if packed else content)
    expected = read_documents(whole)
    for size in (7, 64, 1000, 100_000):
        assert documents_in(path, size) == (expected, [])
    text = whole.read_bytes().decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    assert documents_in(path, 64, "file") == ([text], []) and read_documents(path, "file") == [text]


def test_reading_goes_on_from_any_block_with_the_same_blocks(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(made_text(2))
    found = list(read_blocks(path, "text", size=50))
    assert len(found) > 20 and b"".join(block.content for block in found) == path.read_bytes()
    for number in (1, 5, len(found) - 1):
        assert list(read_blocks(path, "text", *found[number - 1].after(), size=50)) == found[number:]
    assert [block.line for block in found] == [1 + path.read_bytes()[: b.start].count(b"\n") for b in found]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_records_in_blocks_are_those_of_the_file_and_bad_ones_are_left_out_and_named(tmp_path, suffix):
    texts = ["one\n\nstill one", "two \u2028 lines", "  ", "é"] * 30
    path = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        pytest.importorskip("pyarrow.parquet").write_table(
            pytest.importorskip("pyarrow").table({"id": list(range(120)), "content": texts}), path
        )
        assert documents_in(path, 100) == ([text for text in texts if text.strip()], [])
        return
    lines = [json.dumps({"id": 1, "content": text}) for text in texts]
    lines[7], lines[50], lines[99] = "{", '{"content": 3}', "[1]"
    content = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    found, wrong = documents_in(path, 100)
    assert found == [text for i, text in enumerate(texts) if text.strip() and i not in (7, 50, 99)]
    assert [complaint.split(": ")[0] for complaint in wrong] == [f"{path}:{line}" for line in (8, 51, 100)]


def test_a_large_file_is_streamed_and_is_split_as_if_it_were_read_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text(made_text(3, 8000))
    whole = read_documents(path)
    monkeypatch.setattr(corpus, "LARGE", 100)
    streamed = read_documents(path)
    assert isinstance(streamed, corpus.Streamed) and list(streamed) == list(streamed) == whole
    assert len(streamed) == len(whole) and streamed[::7] == whole[::7]
    for mine, theirs in zip(split(streamed, 0.2, seed=4), split(whole, 0.2, seed=4)):
        assert list(mine) == theirs and len(mine) == len(theirs)


@pytest.mark.parametrize(
    "content, said",
    [
        (b"fine\n\n" * 50 + b"caf\xe9", "a.txt: not UTF-8: byte 0xe9 at byte offset 303, line 101"),
        (b"fine\n\n" * 50 + b"a\0", "a.txt: looks like a binary file (a zero byte at byte offset 301, line 101)"),
        ("one\n\ntwo".encode("utf-16"), "a.txt: the file is UTF-16, expected UTF-8"),
        (b"", "a.txt: the file is empty"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place_in_the_file(tmp_path, content, said):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        documents_in(path, 64)
    assert said in str(caught.value)


def test_a_packed_file_cut_short_a_text_without_end_and_a_table_are_refused(tmp_path, monkeypatch):
    short, table = tmp_path / "a.txt.gz", tmp_path / "a.csv"
    short.write_bytes(gzip.compress(made_text(5).encode())[:-20])
    with pytest.raises(ValueError, match="not a whole"):
        documents_in(short, 100)
    with pytest.raises(ValueError, match="which can be read in parts"):
        block_form(table)
    monkeypatch.setattr("minillm.text.blocks.LONGEST", 1 << 20)
    long = tmp_path / "b.txt"
    long.write_text("word " * 300_000)
    with pytest.raises(ValueError, match="over 1 MB of text without a blank line from line 1 on"):
        documents_in(long, 100_000)
    with pytest.raises(ValueError, match="no text in this folder"):
        text_files(tmp_path / "nowhere")


def test_copies_in_a_stream_are_those_that_a_set_finds_however_it_is_cut():
    draw = random.Random(0)
    texts = [f"{draw.choice(('A', 'a'))} tale {draw.randint(0, 60)} " for _ in range(300)]
    known, expected = set(), []
    for text in texts:
        expected.append(" ".join(text.lower().split()) not in known)
        known.add(" ".join(text.lower().split()))
    for size in (1, 7, 300):
        seen = Seen()
        found = [seen.add(exact_keys(texts[at : at + size])) for at in range(0, 300, size)]
        assert np.concatenate(found).tolist() == expected and len(seen) == len(known)
        assert len(seen.runs) <= 10 and all((np.diff(run) > 0).all() for run in seen.runs)


def test_near_copies_in_a_stream_are_those_that_comparing_finds():
    draw = random.Random(1)
    words = [f"w{i}" for i in range(500)]
    texts = [" ".join(draw.choice(words) for _ in range(80)) for _ in range(40)]
    copies = [" ".join([*text.split()[:-1], "end"]) for text in texts[:10]]  # one word of 80 is another
    both = [*texts, *copies, "", ""]
    found = Seen().add(near_keys(both))
    right = [first == index for index, first in enumerate(near_duplicates(both, 0.8))]
    assert found[:50].tolist() == right[:50] and found[:40].all() and not found[40:50].any()
    assert found[50:].tolist() == [True, False]  # without any word: an exact copy
