"""The stages of understanding from the command line: small runs that end, resume, and say what they need."""

import json

import pytest

from minillm.cli import main
from minillm.hub import load_model
from minillm.models import SequenceClassifier, TokenClassifier

SMALL = "--depth 1 --width 16 --heads 2 --max-steps 30 --vocab-size 280 --device cpu".split()


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def texts(n, start=0):
    """The label is the first word: easy."""
    return [{"text": f"{'good' if i % 2 else 'bad'} film number {i}", "label": i % 2} for i in range(start, start + n)]


def scores(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_classify_learns_writes_its_run_and_resumes_to_the_same_bits(tmp_path, capsys):
    data, test = write(tmp_path / "a.jsonl", texts(60)), write(tmp_path / "t.jsonl", texts(20, 60))
    arguments = ["classify", "--data", data, "--test", test, *SMALL]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    metrics = scores(tmp_path / "run")
    assert metrics["accuracy"] > 0.9 >= metrics["baselines"]["majority class"]["accuracy"]
    assert metrics["accuracy_low"] <= metrics["accuracy"] <= metrics["accuracy_high"] and metrics["f1"] > 0.9
    assert isinstance(load_model(tmp_path / "run"), SequenceClassifier)
    for name in ("confusion.png", "loss.png", "predictions.jsonl", "tokenizer.json"):
        assert (tmp_path / "run" / name).stat().st_size
    assert len((tmp_path / "run" / "predictions.jsonl").read_text().splitlines()) == 20
    assert "bag of words" in capsys.readouterr().out


def test_a_stopped_run_goes_on_and_other_examples_are_refused(tmp_path, monkeypatch, capsys):
    data = write(tmp_path / "a.jsonl", texts(60))
    arguments = ["classify", "--data", data, *SMALL, "--eval-every", "10"]
    assert main([*arguments, "--out", str(tmp_path / "whole")]) == 0
    from minillm.training import trainer

    step = trainer.Trainer.step

    def stop_at_20(self, batches):
        if self.history.step == 20:
            raise KeyboardInterrupt
        return step(self, batches)

    monkeypatch.setattr(trainer.Trainer, "step", stop_at_20)
    assert main([*arguments, "--out", str(tmp_path / "part")]) == 130
    monkeypatch.undo()
    write(tmp_path / "a.jsonl", texts(58))
    assert main(["classify", "--resume", "--out", str(tmp_path / "part")]) == 2
    assert "the examples are not those" in capsys.readouterr().err
    write(tmp_path / "a.jsonl", texts(60))
    assert main(["classify", "--resume", "--out", str(tmp_path / "part")]) == 0
    whole, part = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "part"))
    assert whole == part


def test_an_encoder_is_pre_trained_and_every_head_stands_on_it(tmp_path):
    documents = tmp_path / "text.txt"
    documents.write_text("\n\n".join(f"Mira saw a kite. She had {i} lamps. Owl was glad." for i in range(60)))
    small = "--depth 1 --width 16 --heads 2 --max-steps 10 --vocab-size 280 --context 48".split()
    for extra in ([], ["--next-sentence"]):
        out = tmp_path / f"mlm{len(extra)}"
        assert main(["mlm", "--data", str(documents), *small, "--out", str(out), *extra]) == 0
        assert {"val_loss", "restored"} <= scores(out).keys() and ("next_sentence" in scores(out)) == bool(extra)
        pairs = [{"text_a": f"a {i}", "text_b": f"{i} b", "label": "yes" if i % 2 else "no"} for i in range(30)]
        arguments = ["--from", str(out), "--max-steps", "5"]
        data = write(tmp_path / "pairs.jsonl", pairs)
        assert main(["pair", "--data", data, *arguments, "--out", str(out / "pair")]) == 0
        tags = [{"tokens": ["Mira", "saw", str(i)], "tags": ["B-PER", "O", "O"]} for i in range(30)]
        data = write(tmp_path / "tags.jsonl", tags)
        assert main(["tag", "--data", data, *arguments, "--out", str(out / "tag")]) == 0
        assert isinstance(load_model(out / "tag"), TokenClassifier) and "f1" in scores(out / "tag")
        like = [{"text_a": f"lamp {i}", "text_b": f"the lamp {i}", "score": i % 3 / 2} for i in range(30)]
        data = write(tmp_path / "like.jsonl", like)
        assert main(["encode", "--data", data, *arguments, "--out", str(out / "vectors")]) == 0
        assert {"recall_at_1", "recall_at_5", "spearman"} <= scores(out / "vectors").keys()


def test_a_trained_run_answers_about_new_texts(tmp_path, capsys):
    def lines():
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    run, out = str(tmp_path / "run"), tmp_path / "answers.jsonl"
    main(["classify", "--data", write(tmp_path / "a.jsonl", texts(60)), *SMALL, "--out", run])
    capsys.readouterr()
    assert main(["predict", "--from", run, "--text", "good film number 70"]) == 0
    (found,) = lines()
    assert found["label"] == "1" and 0.5 < found["probability"] <= 1 and found["text"] == "good film number 70"
    assert main(["predict", "--from", run, "--text", "good " * 300]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["label"] and "1 of 1 texts are longer than the 256 tokens" in said.err
    new = write(tmp_path / "new.jsonl", [{"text": "bad film number 71"}, {"text": "good film"}])
    assert main(["predict", "--from", run, "--data", new, "--out", str(out)]) == 0
    assert [json.loads(line)["label"] for line in out.read_text().splitlines()] == ["0", "1"]

    tags = [{"tokens": [f"n{i}", "saw", "Mira"], "tags": ["O", "O", "B-PER"]} for i in range(40)]
    main(["tag", "--data", write(tmp_path / "t.jsonl", tags), *SMALL, "--out", str(tmp_path / "tag")])
    capsys.readouterr()
    assert main(["predict", "--from", str(tmp_path / "tag"), "--text", "n7 saw Mira"]) == 0
    assert lines() == [{"tokens": ["n7", "saw", "Mira"], "tags": ["O", "O", "B-PER"]}]

    pairs = [{"text_a": f"a {i}", "text_b": f"{i} b", "label": "yes" if i % 2 else "no"} for i in range(30)]
    main(["pair", "--data", write(tmp_path / "p.jsonl", pairs), *SMALL, "--out", str(tmp_path / "pair")])
    capsys.readouterr()
    assert main(["predict", "--from", str(tmp_path / "pair"), "--text", "a 1", "--second", "1 b"]) == 0
    assert lines()[0]["label"] in ("yes", "no")
    assert main(["predict", "--from", str(tmp_path / "pair"), "--text", "a 1"]) == 2
    assert "predict needs --data, or --text and --second" in capsys.readouterr().err
    refused = {
        "--text good --second bad": "--second has no use here: a run of classify reads one text at a time",
        f"--data {new} --second bad": "--second has no use here",
        f"--data {new} --text good": "give the file or the texts, not both",
        f"--text good --out {tmp_path}": "is a folder: name a file in it",
        f"--text good --out {new}/x": "new.jsonl is a file, and nothing can be written into it; name a folder",
    }
    for flags, sentence in refused.items():
        assert main(["predict", "--from", run, *flags.split()]) == 2
        said = capsys.readouterr()
        assert sentence in said.err and said.err.count("\n") == 1 and not said.out

    like = [{"text_a": f"lamp {i}", "text_b": f"the lamp {i}"} for i in range(30)]
    main(["encode", "--data", write(tmp_path / "l.jsonl", like), *SMALL, "--out", str(tmp_path / "vectors")])
    capsys.readouterr()
    assert main(["predict", "--from", str(tmp_path / "vectors"), "--text", "lamp 3"]) == 0
    vector = lines()[0]["vector"]
    assert len(vector) == 16 and sum(x * x for x in vector) == pytest.approx(1, abs=1e-4)

    bad = write(tmp_path / "bad.jsonl", [{"text": " "}])
    assert main(["predict", "--from", run, "--data", bad, "--out", str(tmp_path / "none")]) == 2
    assert 'bad.jsonl:1: "text" is empty' in capsys.readouterr().err and not (tmp_path / "none").exists()
    for stage in ("generate", "chat", "pretrain"):  # what a head, or what reads both ways, cannot do
        assert main([stage, "--from", run]) == 2
        assert (
            "holds a SequenceClassifier, which sorts texts into classes and writes none: this needs"
            in capsys.readouterr().err
        )


def test_eval_scores_a_head_as_its_run_did_and_on_other_files(tmp_path, capsys):
    data, test = write(tmp_path / "a.jsonl", texts(60)), write(tmp_path / "t.jsonl", texts(20, 60))
    run = tmp_path / "run"
    assert main(["classify", "--data", data, "--test", test, *SMALL, "--out", str(run)]) == 0
    before = sorted(path.name for path in run.iterdir())
    for flags in ([], ["--data", test]):
        out = tmp_path / "scores.json"
        assert main(["eval", "--from", str(run), *flags, "--out", str(out)]) == 0
        found = json.loads(out.read_text())
        assert found == {name: value for name, value in scores(run).items() if name in found}
        assert found["accuracy"] > 0.9
    assert sorted(path.name for path in run.iterdir()) == before
    other = write(tmp_path / "o.jsonl", [{"text": "good", "label": "fine"}])
    capsys.readouterr()
    assert main(["eval", "--from", str(run), "--data", other]) == 2
    assert "o.jsonl:1: the label 'fine' never occurs in training, where there are 0, 1" in capsys.readouterr().err


def test_labels_that_were_never_learned_count_as_wrong_in_training_and_in_eval(tmp_path, capsys):
    rows = [{"text": f"{'good' if i % 2 else 'bad'} film {i}", "label": i % 2 if i % 5 else "fine"} for i in range(30)]
    data, test = write(tmp_path / "a.jsonl", texts(60)), write(tmp_path / "t.jsonl", rows)
    run = tmp_path / "run"
    assert main(["classify", "--data", data, "--test", test, *SMALL, "--out", str(run)]) == 0
    said = capsys.readouterr().err
    assert "6 of 30 records have labels that were never learned, and every answer there counts as wrong: " in said
    assert f"{test}:1: the label 'fine' never occurs in training, where there are 0, 1" in said
    told = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert [row["label"] for row in told] == [str(row["label"]) for row in rows]
    theirs = pytest.importorskip("sklearn.metrics")
    truth, predicted = ([row[side] for row in told] for side in ("label", "predicted"))
    assert set(predicted) <= {"0", "1"}
    assert scores(run)["accuracy"] == pytest.approx(theirs.accuracy_score(truth, predicted))
    assert 0.7 < scores(run)["accuracy"] <= 0.8
    assert scores(run)["f1"] == pytest.approx(theirs.f1_score(truth, predicted, average="macro"))
    assert scores(run)["confusion"] == theirs.confusion_matrix(truth, predicted).tolist()
    assert json.loads((run / "config.json").read_text())["labels"] == ["0", "1"]
    for flags in ([], ["--data", test]):
        assert main(["eval", "--from", str(run), *flags]) == 0
        told = capsys.readouterr()
        assert json.loads(told.out) == {name: value for name, value in scores(run).items() if name in told.out}
        assert "6 of 30 records have labels" in told.err


def test_tags_that_were_never_learned_count_as_wrong(tmp_path, capsys):
    data = write(tmp_path / "a.jsonl", [{"tokens": ["Mira", f"w{i}"], "tags": ["B-PER", "O"]} for i in range(40)])
    test = [{"tokens": ["Mira", f"w{i}0"], "tags": ["B-PER", "B-ODD" if i < 3 else "O"]} for i in range(12)]
    run = tmp_path / "run"
    assert main(["tag", "--data", data, *SMALL, "--out", str(run)]) == 0
    before = scores(run)
    assert before["accuracy"] == 1
    capsys.readouterr()
    assert main(["eval", "--from", str(run), "--data", write(tmp_path / "t.jsonl", test)]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["accuracy"] == pytest.approx(1 - 3 / 24)
    assert json.loads(told.out)["whole_texts_right"] == pytest.approx(1 - 3 / 12)
    assert "3 of 12 records have labels that were never learned" in told.err


def test_predict_leaves_bad_records_out_and_says_where_they_are(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["classify", "--data", write(tmp_path / "a.jsonl", texts(40)), *SMALL, "--out", str(run)]) == 0
    bad = ['{"text": " "}', '{"text": 3}', "[]", '{"label": 1}', '{"text": "a\\ud800"}', '{"text": null}', "4"]
    data = tmp_path / "new.jsonl"
    data.write_text("\n".join([*bad[:4], '{"text": "good film 3"}', *bad[4:], '{"text": "bad film 2"}']))
    capsys.readouterr()
    assert main(["predict", "--from", str(run), "--data", str(data)]) == 0
    told = capsys.readouterr()
    assert [json.loads(line)["text"] for line in told.out.splitlines()] == ["good film 3", "bad film 2"]
    first, *complaints = told.err.strip().splitlines()
    assert first == "7 of 9 records are left out:" and complaints[-1].strip() == "..."
    assert [line.strip().removeprefix(f"{data}:").split(":")[0] for line in complaints[:5]] == list("12346")
    data.write_text("\n".join(bad))
    assert main(["predict", "--from", str(run), "--data", str(data), "--out", str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert "new.jsonl:1: " in said and "(and so with 7 of 7 records)" in said and said.count("\n") == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("trunk", ["decoder", "lstm"])
def test_other_trunks_are_read_at_their_last_token(tmp_path, trunk):
    data = write(tmp_path / "a.jsonl", texts(40))
    assert main(["classify", "--data", data, *SMALL, "--trunk", trunk, "--out", str(tmp_path / "run")]) == 0
    assert load_model(tmp_path / "run").pooling == "last"


def test_what_does_not_fit_is_said_and_what_cannot_be_is_refused(tmp_path, capsys):
    long = [{"text": "word " * 40 + str(i), "label": i % 2} for i in range(20)]
    data = write(tmp_path / "a.jsonl", long)
    arguments = ["classify", "--data", data, *SMALL, "--max-steps", "2"]
    assert main([*arguments, "--context", "12", "--out", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert (
        "18 of 18 examples are longer than the 12 tokens that the model reads; their ends are cut off, first at" in out
    )
    assert main([*arguments, "--context", "2", "--out", str(tmp_path / "none")]) == 2
    assert "a context of 2 tokens has no room for text" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    assert main(["classify", "--valid", data]) == 2
    assert "--valid and --test need --data" in capsys.readouterr().err


def test_show_prints_one_example_and_trains_nothing(tmp_path, capsys):
    data = write(tmp_path / "a.jsonl", texts(10))
    assert main(["classify", "--data", data, *SMALL, "--show", "--out", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "position" in out and "<|cls|>" in out and "label of the whole text: " in out
    assert not (tmp_path / "run").exists()


def test_pretrain_shows_a_window_and_whose_label_counts(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("one two three\n\nfour five six\n\nseven eight nine")
    arguments = ["--data", str(text), "--tokenizer", "characters", "--context", "8", "--show", "--device", "cpu"]
    assert main(["pretrain", *arguments, "--out", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "position" in out and "scored against the label of the next one" in out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("extra, labelled", [([], 2), (["--every-piece"], 8)])
def test_a_word_is_tagged_at_its_first_token_or_at_all(tmp_path, capsys, extra, labelled):
    data = write(tmp_path / "tags.jsonl", [{"tokens": [f"{i}bcd", f"{i}yz"], "tags": ["B-PER", "O"]} for i in range(9)])
    arguments = ["tag", "--data", data, "--tokenizer", "characters", "--show", "--device", "cpu", *extra]
    assert main(arguments) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert sum(row[3] != "." for row in rows if row[0].isdigit() and len(row) > 4) == labelled
