"""`answer` from the command line: it shows the model the right document, names it, and says what it needs."""

import json
from pathlib import Path

import pytest

from minillm.cli import main
from minillm.tales import make_collection, make_lookups

READY = Path(__file__).parents[2] / "data" / "models"
SMALL = "--depth 1 --width 16 --heads 2 --max-steps 3 --device cpu".split()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """An encoder that has learned nothing, a collection of tales, and questions about it."""
    folder = tmp_path_factory.mktemp("answer")
    collection = make_collection(12, 0)
    texts = [tale.text for tale in collection]
    (folder / "tales.txt").write_text("\n\n".join(texts))
    pairs = [{"text_a": text[:40], "text_b": text[40:90]} for text in texts]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    encode = ["encode", "--data", str(folder / "pairs.jsonl"), "--vocab-size", "300", *SMALL]
    assert main([*encode, "--out", str(folder / "encode")]) == 0
    return folder, make_lookups(collection, 10, 1, unknown=0.0)


def ask(folder, *arguments):
    return main(["answer", "--from", str(READY / "sft"), "--with", str(folder / "tales.txt"), "--device", "cpu",
                 "--max-new-tokens", "4", *map(str, arguments)])  # fmt: skip


def test_the_answer_names_the_document_that_holds_it(runs, capsys):
    folder, lookups = runs
    for lookup in lookups[:3]:
        assert ask(folder, "--question", lookup.question) == 0
        assert f"source: tales.txt, document {lookup.document + 1}: " in capsys.readouterr().out


def test_many_questions_an_index_that_is_kept_and_an_encoder_that_finds(runs, tmp_path, capsys):
    folder, lookups = runs
    data, out = tmp_path / "q.jsonl", tmp_path / "a.jsonl"
    data.write_text("".join(json.dumps({"question": lookup.question}) + "\n" for lookup in lookups))
    rows = []
    for _ in range(2):  # the second time from the index
        assert ask(folder, "--data", data, "--out", out, "--index", tmp_path / "index", "--top", 2) == 0
        rows.append([json.loads(line) for line in out.read_text().splitlines()])
    assert rows[0] == rows[1] and len(rows[0]) == len(lookups)
    for row, lookup in zip(rows[0], lookups):
        assert row["question"] == lookup.question and 1 <= len(row["sources"]) <= 2
        assert row["sources"][0] == f"tales.txt, document {lookup.document + 1}"
    capsys.readouterr()
    assert ask(folder, "--data", data, "--finder", folder / "encode") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(found) == len(lookups) and all(abs(row["score"]) <= 1.001 for row in found)
    assert ask(folder, "--data", data, "--index", tmp_path / "index", "--finder", folder / "encode") == 2
    assert "is of other documents, or of another finder: name a new folder" in capsys.readouterr().err


def test_what_is_missing_or_of_another_kind_is_said(runs, tmp_path, capsys):
    folder, _ = runs
    (tmp_path / "empty.txt").write_text(" \n")
    cases = [
        (["--with", folder / "tales.txt"], "answer needs --question, or --data with many, and not both"),
        (["--question", "who?"], "answer needs --with, a file of documents"),
        (["--question", "who?", "--with", tmp_path / "empty.txt"], "holds no text"),
        (
            ["--question", "who?", "--with", folder / "tales.txt", "--from", READY / "pretrain"],
            "never taught to answer",
        ),
        (["--question", "who?", "--with", folder / "tales.txt", "--finder", READY / "sft"], "holds a Decoder"),
        (["--question", "who?", "--with", folder / "tales.txt", "--top", "0"], "must be at least 1"),
        (
            ["--question", "who?", "--with", folder / "tales.txt", "--passage", "230", "--max-new-tokens", "4"],
            "has room for passages of 220",
        ),
        (["--question", "who? " * 500, "--with", folder / "tales.txt"], "too long to be shown a passage"),
    ]
    for arguments, complaint in cases:
        default = [] if "--from" in arguments else ["--from", str(READY / "sft")]
        assert main(["answer", *default, *map(str, arguments), "--device", "cpu"]) == 2
        error = capsys.readouterr().err
        assert complaint in error and error.strip().count("\n") == 0


def test_a_model_of_sft_answers_from_the_tale_that_was_found(runs, capsys):
    folder, _ = runs
    tales = make_collection(12, 0)
    heroes, asked = [tale.roles["hero"]["name"] for tale in tales], 0
    for number, tale in enumerate(tales, 1):
        hero = tale.roles["hero"]
        if heroes.count(hero["name"]) == 1 and asked < 3:
            asked += 1
            assert ask(folder, "--question", f"Where did {hero['name']} live?", "--max-new-tokens", "8") == 0
            answer, source = capsys.readouterr().out.splitlines()
            assert answer == f"in the {hero['home']}" and source.startswith(f"source: tales.txt, document {number}: ")
    assert asked == 3
