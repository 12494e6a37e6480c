"""Models that lessons lack: how long it takes is said, progress is shown, and a failure says why."""

import sys

import pytest

from minillm.course import models
from minillm.course.models import MAKERS, MINUTES, trained
from minillm.training import RunFolder


def test_each_model_has_its_minutes():
    assert MINUTES.keys() == MAKERS.keys() and min(MINUTES.values()) >= 1


def test_the_whole_chain_is_named_with_its_time_before_the_first_model_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(models, "ROOT", tmp_path)
    made = []

    def pretend(run, name, start):
        made.append((name, start and start.path.name))
        return [sys.executable, "-c", "print('working')"]

    monkeypatch.setattr(models, "_command", pretend)
    assert trained("letters").path == tmp_path / "runs" / "letters"
    said = capsys.readouterr().out
    minutes = MINUTES["pretrain"] + MINUTES["sft"] + MINUTES["letters"]
    assert said.startswith(f"Not there yet: pretrain, sft, letters. Training now, once: {minutes} minutes")
    assert made == [("pretrain", ""), ("sft", "pretrain"), ("letters", "sft")]
    assert all(f"{number} of 3: {name}" in said for number, name in enumerate(("pretrain", "sft", "letters"), 1))


def test_a_training_that_fails_says_its_last_word(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "ROOT", tmp_path)
    monkeypatch.setattr(models, "_command", lambda *_: [sys.executable, "-c", "import sys; sys.exit('no room left')"])
    with pytest.raises(RuntimeError, match="training the model mlm for the lessons failed: no room left"):
        trained("mlm")


def test_a_run_that_was_stopped_is_gone_on_with(tmp_path):
    run = RunFolder(tmp_path / "sft")
    fresh = models._command(run, "sft", RunFolder(tmp_path / "pretrain"))
    assert fresh[3:] == ["sft", "--from", str(tmp_path / "pretrain"), "--dtype", "fp32", "--out", str(run.path)]
