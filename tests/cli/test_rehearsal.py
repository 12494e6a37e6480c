"""Rehearsal in sft: which text is known, what it costs in steps, what is kept, and what is said where it is gone."""

import json
import math

import pytest
import torch

from minillm.cli import main
from minillm.cli.rehearsal import MEASURED, ROWS, beside, learned
from minillm.data import Windows, tokenize
from minillm.hub import load
from minillm.text import read_documents, split
from minillm.training import RunFolder, causal_lm, mean_loss

SMALL = "--depth 1 --width 16 --heads 1 --context 32 --vocab-size 280 --dtype fp32 --device cpu".split()
TUNE = "--max-steps 10 --dtype fp32 --device cpu".split()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of pretrain on a text of two kinds of sentences, and conversations of another kind."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(
        "\n\n".join(f"the {'cat' if i % 2 else 'dog'} sat, number {i}" for i in range(300))
    )
    rows = [{"prompt": f"is {i} odd?", "completion": "yes" if i % 2 else "no"} for i in range(60)]
    (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = ["--data", str(folder / "text.txt"), "--max-steps", "150"]
    assert main(["pretrain", *text, *SMALL, "--out", str(folder / "base")]) == 0
    return folder


def tuned(runs, out, *flags, start="base"):
    data = ["--data", str(runs / "c.jsonl"), "--from", str(runs / start)]
    return main(["sft", *data, *TUNE, *flags, "--out", str(out)])


def test_the_loss_before_is_that_of_the_base_on_what_it_was_not_trained_on(runs, tmp_path):
    assert tuned(runs, tmp_path / "out") == 0
    model, tokenizer = load(runs / "base")
    _, valid = split(read_documents(runs / "text.txt"), 0.1, 0)
    windows = Windows(tokenize(valid, tokenizer), 32, ROWS)
    assert len(windows) <= MEASURED  # so that all of it is measured
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["text_loss_before"] == pytest.approx(mean_loss(model, causal_lm, windows), abs=1e-6)
    after, _ = load(tmp_path / "out")
    assert metrics["text_loss"] == pytest.approx(mean_loss(after, causal_lm, windows), abs=1e-6)


def test_a_share_of_the_steps_is_added_and_what_was_learned_is_kept(runs, tmp_path):
    found = {}
    for share in ("0", "0.4"):
        assert tuned(runs, tmp_path / share, "--max-steps", "auto", "--epochs", "10", "--rehearse", share) == 0
        found[share] = json.loads((tmp_path / share / "metrics.json").read_text())
    assert (found["0"]["steps"], found["0.4"]["steps"]) == (135, 225)  # 54 conversations, 4 a step
    before = found["0"]["text_loss_before"]
    assert found["0"]["text_loss"] > before + 0.5  # it does forget
    assert found["0.4"]["text_loss"] < before + 0.1
    assert found["0"]["answer_tokens"] and "answer_tokens" not in found["0.4"]  # it counts text, too


def test_the_text_is_known_to_the_runs_behind(runs, tmp_path):
    assert tuned(runs, tmp_path / "one") == 0
    assert learned(RunFolder(tmp_path / "one"))[:2] == learned(RunFolder(runs / "base"))[:2]
    assert tuned(runs, tmp_path / "two", start=tmp_path / "one") == 0
    metrics = json.loads((tmp_path / "two" / "metrics.json").read_text())
    own = json.loads((tmp_path / "one" / "metrics.json").read_text())
    assert metrics["text_loss_before"] == pytest.approx(own["text_loss"], abs=1e-6)


def test_an_adapter_rehearses_nothing_unless_asked(runs, tmp_path):
    assert tuned(runs, tmp_path / "a", "--method", "lora") == 0
    assert "text_loss" not in json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert tuned(runs, tmp_path / "b", "--method", "lora", "--rehearse", "0.2") == 0
    assert json.loads((tmp_path / "b" / "metrics.json").read_text())["text_loss"] > 0


def test_a_text_that_is_gone_is_missed_only_by_who_asks_for_it(runs, tmp_path, capsys):
    text = runs / "text.txt"
    away = text.rename(tmp_path / "away.txt")
    try:
        assert tuned(runs, tmp_path / "a") == 0
        assert "text_loss" not in json.loads((tmp_path / "a" / "metrics.json").read_text())
        assert tuned(runs, tmp_path / "b", "--rehearse", "0.1") == 2
        said = capsys.readouterr().err
        assert "text.txt is not there: name it by --rehearse-text" in said and not (tmp_path / "b").exists()
        assert tuned(runs, tmp_path / "c", "--rehearse-text", str(away)) == 0
    finally:
        away.rename(text)
    assert math.isfinite(json.loads((tmp_path / "c" / "metrics.json").read_text())["text_loss"])


@pytest.mark.parametrize("share", ["1", "-0.1", "nan"])
def test_what_is_no_share_is_refused(runs, tmp_path, capsys, share):
    assert tuned(runs, tmp_path / "out", "--rehearse", share) == 2
    assert "shares of the steps" in capsys.readouterr().err


def test_dpo_rehearses_text_and_answers_and_passes_on_what_was_learned(runs, tmp_path):
    rows = [{"prompt": f"is {i} odd?", "chosen": "yes", "rejected": "no"} for i in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert tuned(runs, tmp_path / "sft") == 0
    begin = ["--from", str(tmp_path / "sft"), "--data", str(tmp_path / "pairs.jsonl"), "--dtype", "fp32"]
    assert main(["dpo", *begin, "--device", "cpu", "--out", str(tmp_path / "dpo")]) == 0
    found = json.loads((tmp_path / "dpo" / "metrics.json").read_text())
    assert learned(RunFolder(tmp_path / "dpo")) == learned(RunFolder(tmp_path / "sft"))
    assert found["steps"] == round(100 / 0.6) and found["examples"] and "pairs" not in found
    assert found["accuracy"] == 1 and found["text_loss"] < found["text_loss_before"] + 0.2


def test_steps_of_both_kinds_weigh_the_same():
    preferences, text = lambda model, batch: (batch["reference"].sum(), 3), lambda model, batch: (torch.tensor(8.0), 4)
    both = beside(preferences, "reference", text)
    assert both(None, {"reference": torch.ones(3)}) == (3, 3)
    total, rows = both(None, {"input_ids": torch.zeros(5, 2)})
    assert (float(total), rows) == (10.0, 5)  # the mean, 2, for each of 5 rows


def test_a_run_that_learned_letters_alone_has_nothing_that_dpo_may_rehearse(runs, tmp_path):
    assert tuned(runs, tmp_path / "sft") == 0
    file = tmp_path / "sft" / "config.json"
    config = json.loads(file.read_text())
    config["learned"] |= {"text": None, "conversations": ["letters"]}
    file.write_text(json.dumps(config))
    rows = [{"prompt": f"is {i} odd?", "chosen": "yes", "rejected": "no"} for i in range(20)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    begin = ["--from", str(tmp_path / "sft"), "--data", str(tmp_path / "pairs.jsonl"), *TUNE]
    assert main(["dpo", *begin, "--out", str(tmp_path / "dpo")]) == 0
    settings = json.loads((tmp_path / "dpo" / "config.json").read_text())["settings"]
    assert settings["rehearse"] == settings["rehearse_answers"] == 0
