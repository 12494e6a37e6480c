"""Labelled files: what is read, and one clear sentence, with file and line, for what is not."""

import json
import re
from pathlib import Path

import pytest

from minillm.data import (
    IGNORE_INDEX,
    Frame,
    Record,
    chat_example,
    classify_example,
    conversation_example,
    label_names,
    load_parts,
    pair_example,
    read_conversations,
    read_labelled,
    read_preferences,
    read_scored_pairs,
    read_tagged,
    tag_example,
    tagged_example,
    text_example,
    texts_example,
    user_message,
)
from minillm.text import Tokenizer


def write(path, lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_the_formats_are_read_alike(tmp_path):
    jsonl = write(tmp_path / "a.jsonl", [{"text": "good", "label": 1}, {"text": "bad", "label": "0"}])
    tsv = write(tmp_path / "a.tsv", ["good\t1", "bad\t0"])
    csv = write(tmp_path / "a.csv", ["label,text", "1,good", "0,bad"])
    for path in (jsonl, tsv, csv):
        assert [(r.texts, r.label) for r in read_labelled("text")(path)] == [(("good",), "1"), (("bad",), "0")]


def test_tags_are_read_from_json_and_from_columns(tmp_path):
    jsonl = write(tmp_path / "a.jsonl", [{"tokens": ["Mira", "ran"], "tags": ["B-PER", "O"]}])
    conll = write(tmp_path / "a.conll", ["-DOCSTART- -X- O", "", "Mira NNP B-PER", "ran VBD O", "", "", "She O"])
    assert [(r.texts, r.label) for r in read_tagged(jsonl)] == [(("Mira", "ran"), ("B-PER", "O"))]
    assert [(r.texts, r.line) for r in read_tagged(conll)] == [(("Mira", "ran"), 3), (("She",), 7)]


TEXTS = read_labelled("text")


@pytest.mark.parametrize(
    ("read", "name", "lines", "message"),
    [
        (TEXTS, "a.jsonl", [{"text": "x", "label": 1}, {"text": " ", "label": 1}], r'jsonl:2: "text" is'),
        (TEXTS, "a.jsonl", [{"text": "x"}], r'a.jsonl:1: expected a field "label", found \'text\''),
        (TEXTS, "a.jsonl", [{"text": "x", "label": None}], r"a.jsonl:1: expected a label that is a word"),
        (TEXTS, "a.jsonl", [{"text": "x", "label": [1]}], r"a.jsonl:1: expected a label that is a word"),
        (read_labelled("text_a", "text_b"), "a.jsonl", [{"text_a": "x", "label": 1}], r'jsonl:1: .* field "text_b"'),
        (read_tagged, "a.jsonl", [{"tokens": ["a", "b"], "tags": ["O"]}], r"a.jsonl:1: 2 tokens and 1 tags"),
        (read_tagged, "a.jsonl", [{"tokens": "a b", "tags": ["O"]}], r'expected "tokens" and "tags", two lists'),
        (
            read_tagged, "a.jsonl", [{"tokens": ["a"], "tags": ["B-PER"]}, {"tokens": ["a"], "tags": ["PER"]}],
            r"a.jsonl:2: expected tags such as .* found 'PER'",
        ),
        (read_tagged, "a.jsonl", [{"tokens": [""], "tags": ["O"]}], r"a.jsonl:1: expected tokens that are words"),
        (read_tagged, "a.conll", ["Mira B-PER", "ran"], r"a.conll:2: expected a word and its tag, found 'ran'"),
        (read_tagged, "a.conll", [" "], r"a.conll: the file holds no tagged sentence"),
        (read_scored_pairs, "a.jsonl", [{"text_a": "x", "text_b": "y", "score": "much"}], r'jsonl:1: .* "score" to be'),
        (
            read_scored_pairs, "a.jsonl", [{"text_a": "x", "text_b": "y", "score": 1}, {"text_a": "x", "text_b": "z"}],
            r'a.jsonl:2: this record has no "score"',
        ),
    ],
)  # fmt: skip
def test_bad_records_are_named_by_file_and_line(tmp_path, read, name, lines, message):
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path / name, lines))


def records(tmp_path, name, rows):
    return write(tmp_path / name, [{"text": text, "label": label} for text, label in rows])


def test_a_label_that_training_never_saw_and_a_single_label_are_refused(tmp_path):
    train = records(tmp_path, "train.jsonl", [("a", "x"), ("b", "y")])
    valid = records(tmp_path, "valid.jsonl", [("c", "x"), ("d", "z")])
    parts = load_parts(TEXTS, train, valid, None, 0.1, 0)
    with pytest.raises(
        ValueError, match=r"valid.jsonl:2: the label 'z' never occurs in training, where there are x, y"
    ):
        label_names(parts)
    alone = records(tmp_path, "alone.jsonl", [("a", "x"), ("b", "x"), ("c", "x")])
    with pytest.raises(ValueError, match=r"alone.jsonl: every example has the label 'x'"):
        label_names(load_parts(TEXTS, alone, None, None, 0.4, 0))


def test_what_also_stands_in_validation_is_not_learned_and_that_is_said(tmp_path, capsys):
    train = records(tmp_path, "train.jsonl", [("a", "x"), ("b", "y"), ("c", "x")])
    valid = records(tmp_path, "valid.jsonl", [("b", "y")])
    parts = load_parts(TEXTS, train, valid, None, 0.1, 0)
    assert [record.texts for record in parts.train] == [("a",), ("c",)]
    out = capsys.readouterr().out
    assert "1 of 3 training examples also stand in validation or test" in out
    assert f"{train}:2 is {valid}:1" in out
    with pytest.raises(ValueError, match="nothing is left to learn from"):
        load_parts(TEXTS, valid, valid, None, 0.1, 0)


def test_a_share_kept_aside_keeps_copies_of_one_text_on_one_side(tmp_path):
    data = records(tmp_path, "data.jsonl", [(f"text {i % 10}", "xy"[i % 2]) for i in range(40)])
    parts = load_parts(TEXTS, data, None, None, 0.3, 1)
    assert {r.texts for r in parts.train}.isdisjoint(r.texts for r in parts.valid) and parts.test is parts.valid


TOKENIZER, FRAME = Tokenizer.characters("a cat sat."), Frame(1, 2, 3, True)


def record(texts, label=None):
    return Record(texts, label, Path("a.jsonl"), 1)


def test_a_record_of_one_text_and_of_two_becomes_a_row_with_its_class():
    one, two = TOKENIZER.encode("a cat"), TOKENIZER.encode("sat")
    classes = {"no": 0, "yes": 1}
    example = classify_example(record(("a cat",), "yes"), TOKENIZER, FRAME, 9, classes)
    assert example == {**text_example(one, FRAME, 9), "labels": 1}
    example = classify_example(record(("a cat", "sat"), "no"), TOKENIZER, FRAME, 9, classes)
    assert example == {**pair_example(one, two, FRAME, 9), "labels": 0} and example["cut"] == 2


def test_tagged_words_become_a_row_with_a_class_at_each_word():
    words, classes = ("a", "cat", "sat"), {"B-PET": 0, "O": 1}
    tagged = record(words, ("O", "B-PET", "O"))
    example = tagged_example(tagged, TOKENIZER, FRAME, 20, classes)
    assert example == tag_example(words, [1, 0, 1], TOKENIZER, FRAME, 20)
    assert [label for label in example["labels"] if label != IGNORE_INDEX] == [1, 0, 1]
    every = tagged_example(tagged, TOKENIZER, FRAME, 20, classes, every_piece=True)
    assert every["labels"][1:-1] == [1] + [0] * len(" cat") + [1] * len(" sat")


def test_like_texts_become_a_row_each():
    rows = texts_example(record(("a cat", "sat"), 0.5), TOKENIZER, FRAME, 20)
    assert rows == tuple(text_example(TOKENIZER.encode(text), FRAME, 20) for text in ("a cat", "sat"))


def test_of_a_conversation_the_answers_are_learned_or_everything(tmp_path):
    (talk,) = read_conversations(write(tmp_path / "a.jsonl", [{"prompt": "a cat", "completion": "sat"}]))
    answers = conversation_example(talk, TOKENIZER, 12)
    assert answers == chat_example(talk.messages, TOKENIZER, 12) and set(answers["labels"][:-4]) == {IGNORE_INDEX}
    assert answers["labels"][-4:] == [*TOKENIZER.encode("sat"), TOKENIZER.eos_id]
    everything = conversation_example(talk, TOKENIZER, 12, learn="everything")
    assert everything == {**answers, "labels": answers["input_ids"]}


def test_a_preference_is_a_message_of_the_user_and_two_answers(tmp_path):
    line = {"prompt": "a cat?", "chosen": "sat", "rejected": "cat"}
    (preference,) = read_preferences(write(tmp_path / "a.jsonl", [line]))
    assert user_message("a cat?") == [{"role": "user", "content": "a cat?"}]
    assert preference.pair == (user_message("a cat?"), "sat", "cat")


@pytest.mark.parametrize(
    "score", ["NaN", "Infinity", "-Infinity", "1e999", '"nan"', "true", '"much"', "[1]", "1" + "0" * 400]
)
def test_a_score_that_is_no_number_is_left_out_with_its_line(score, tmp_path, capsys):
    lines = [f'{{"text_a": "a", "text_b": "b", "score": {value}}}' for value in ("0.5", "2", score)]
    for read in (read_scored_pairs, read_preferences):
        text = "\n".join(lines)
        if read is read_preferences:
            text = text.replace("text_a", "chosen").replace("text_b", "rejected").replace("score", "chosen_score")
            text = text.replace("{", '{"prompt": "p", ')
        assert len(read(write(tmp_path / "a.jsonl", text.split("\n")))) == 2
        assert re.search(r'a\.jsonl:3: expected "\w*score" to be a number', capsys.readouterr().err)


def test_scores_of_a_table_are_numbers(tmp_path):
    lines = ["text_a\ttext_b\tscore", "a\tb\t0.5", "c\td\t-2"]
    assert [record.label for record in read_scored_pairs(write(tmp_path / "a.tsv", lines))] == [0.5, -2.0]
    with pytest.raises(ValueError, match=r'a\.tsv:3: expected "score"'):
        read_scored_pairs(write(tmp_path / "a.tsv", [*lines[:2], "c\td\tnan"]))
