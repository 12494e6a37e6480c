"""Commands on files as people have them: tables, parts of speech, rare labels and characters, one long text."""

import json

import pytest

from minillm.cli import main
from minillm.cli.corpus import load_corpus
from minillm.cli.settings import TextSource
from minillm.data import label_names, load_parts, mean_token_length, read_labelled, unknown_labels
from minillm.text import Tokenizer

SMALL = "--depth 1 --width 16 --heads 2 --max-steps 1 --vocab-size 280 --device cpu".split()


def lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def content(run, name):
    return json.loads((run / name).read_text())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_classes_come_from_a_table_and_no_character_stops_a_run_by_chance(tmp_path, seed):
    rows = [f'"film {i}, {"ñ☕€ß"[i // 5] if i % 5 == 0 else "so"}",{"good" if i % 2 else "bad"}' for i in range(20)]
    (tmp_path / "a.csv").write_text("\n".join(["Review,Sentiment", *rows]), encoding="utf-8")
    flags = [*SMALL, "--tokenizer", "characters", "--seed", str(seed), "--out", str(tmp_path / "run")]
    assert main(["classify", "--data", str(tmp_path / "a.csv"), *flags]) == 0
    assert content(tmp_path / "run", "config.json")["labels"] == ["bad", "good"]


def test_a_label_of_one_record_is_learned_whatever_the_seed(tmp_path):
    records = [{"text": f"film {i}", "label": "rare" if i == 7 else "ab"[i % 2]} for i in range(20)]
    path = lines(tmp_path / "a.jsonl", records)
    for seed in range(20):
        parts = load_parts(read_labelled("text"), path, None, None, 0.2, seed)
        assert label_names(parts) == ["a", "b", "rare"] and parts.valid
        assert sorted(one.line for one in [*parts.train, *parts.valid]) == list(range(1, 21))
    few = lines(tmp_path / "few.jsonl", [{"text": f"film {i}", "label": str(i)} for i in range(4)])
    with pytest.raises(ValueError, match=r"few.jsonl: too few examples of each label to keep any aside"):
        load_parts(read_labelled("text"), few, None, None, 0.2, 0)


def test_validation_loses_a_few_unknown_labels_and_the_test_keeps_them_as_wrong(tmp_path, capsys):
    train = lines(tmp_path / "a.jsonl", [{"text": f"film {i}", "label": "ab"[i % 2]} for i in range(4)])
    valid = lines(tmp_path / "v.jsonl", [{"text": f"new {i}", "label": "abc"[i % 3]} for i in range(5)])
    parts = load_parts(read_labelled("text"), train, valid, None, 0.2, 0)
    assert label_names(parts) == ["a", "b"] and [one.line for one in parts.valid] == [1, 2, 4, 5]
    assert [one.line for one in parts.test] == [1, 2, 3, 4, 5] and unknown_labels(parts.test, ["a", "b"]) == ["c"]
    said = capsys.readouterr().err
    assert f"1 of 5 records are left out:\n  {valid}:3: the label 'c' never occurs in training" in said
    assert "1 of 5 records have labels that were never learned, and every answer there counts as wrong: " in said
    assert unknown_labels(parts.valid, ["a", "b"]) == [] and not capsys.readouterr().err
    with pytest.raises(ValueError, match=r"v.jsonl:1: the label 'a' never occurs in training, where there are x, y"):
        unknown_labels(parts.test, ["x", "y"])


def test_columns_the_other_way_round_are_one_short_sentence(tmp_path, capsys):
    (tmp_path / "a.tsv").write_text("".join(f"{'spam' if i % 2 else 'ham'}\tmessage {i} is here\n" for i in range(60)))
    assert main(["classify", "--data", str(tmp_path / "a.tsv"), *SMALL, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "60 records have 60 labels" in said and "are the columns the other way round?" in said
    assert len(said) < 600 and not (tmp_path / "run").exists()


def test_parts_of_speech_are_scored_by_accuracy_beside_the_commonest_tag_of_each_word(tmp_path):
    row = "{}\t{}\t_\t{}\tx\t_\t0\tdep\t_\t_\n"
    verbs = ["runs", "runs", "sits"]
    text = "".join(
        f"# sent_id = {i}\n{row.format(1, f'N{i}', 'PROPN')}{row.format(2, verbs[i % 3], 'VERB')}"
        f"{row.format(3, 'fast', 'ADV' if i % 4 else 'ADJ')}\n"
        for i in range(24)
    )
    (tmp_path / "a.conllu").write_text(text)
    (tmp_path / "b.conllu").write_text(text.replace("\tN", "\tM"))
    flags = ["--data", str(tmp_path / "a.conllu"), "--valid", str(tmp_path / "b.conllu"), *SMALL]
    assert main(["tag", *flags, "--out", str(tmp_path / "run")]) == 0
    found = content(tmp_path / "run", "metrics.json")
    assert 0 <= found["accuracy"] <= 1 and "f1" not in found
    # By hand: every name is new, and PROPN, VERB are as frequent, the first by name; of "fast" 6 of 24 are ADJ.
    assert found["baselines"]["commonest tag"] == {"accuracy": pytest.approx((24 + 24 + 18) / 72)}
    assert content(tmp_path / "run", "config.json")["labels"] == ["ADJ", "ADV", "PROPN", "VERB"]
    assert main(["tag", *flags, "--column", "xpos", "--out", str(tmp_path / "none")]) == 2  # one class


def test_labels_are_counted_before_examples_are_chosen(tmp_path):
    records = [{"tokens": [f"n{i}", "ran"], "tags": ["B-PER" if i % 10 else "B-LOC", "O"]} for i in range(40)]
    data, valid = lines(tmp_path / "a.jsonl", records[:30]), lines(tmp_path / "v.jsonl", records[30:])
    flags = ["--data", str(data), "--valid", str(valid), "--examples", "2", *SMALL, "--out", str(tmp_path / "run")]
    assert main(["tag", *flags]) == 0
    assert content(tmp_path / "run", "config.json")["labels"] == ["B-LOC", "B-PER", "O"]
    assert len((tmp_path / "run" / "predictions.jsonl").read_text().splitlines()) == 10


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_records_as_one_long_text_are_their_texts(tmp_path, name):
    texts = [f"Tale {i}, the end." for i in range(10)]
    written = {
        "a.jsonl": "\n".join(json.dumps({"text": text}) for text in texts),
        "a.json": json.dumps([{"text": text} for text in texts]),
        "a.csv": "\n".join(["text", *(f'"{text}"' for text in texts)]),
    }
    (tmp_path / name).write_text(written[name])
    corpus = load_corpus(TextSource(data=tmp_path / name, documents="file"), seed=0)
    assert corpus.whole and "".join(corpus.train + corpus.valid) == "\n\n".join(texts)


def test_a_tokenizer_of_other_text_is_said(capsys):
    english = ["the lamp that she lost", "he found the lamp and lost it"] * 20
    tokenizer = Tokenizer.train(english, 300)
    assert mean_token_length(english, tokenizer, "runs/a") > 2 and not capsys.readouterr().err
    characters = mean_token_length(["我喜欢吃苹果"], tokenizer, "runs/a")
    assert characters == pytest.approx(6 / len(tokenizer.encode("我喜欢吃苹果")))
    said = capsys.readouterr().err
    assert "the tokenizer of runs/a was made for other text" in said and "0.33 characters" in said
    assert "pretrain on such text first" in said
    mean_token_length(["我喜欢"], Tokenizer.characters("我喜欢"), "runs/a")
    assert not capsys.readouterr().err
