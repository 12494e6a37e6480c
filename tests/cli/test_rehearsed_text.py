"""The text that is rehearsed: short, gone, changed or named anew; and the loss on it before anything is learned."""

import json

import pytest

from minillm.cli import life, main
from minillm.cli.rehearsal import ROWS
from minillm.data import Shards, Windows, tokenize
from minillm.hub import load
from minillm.text import read_documents, split
from minillm.training import causal_lm, mean_loss

SMALL = "--depth 1 --width 16 --context 32 --vocab-size 280 --max-steps 5 --dtype fp32 --device cpu".split()


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Pictures take most of the time of so short a run."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, content, **_: content.write(b"no picture"))


@pytest.fixture
def base(tmp_path):
    """A run of pretrain on a text of its own, and conversations."""
    texts = [f"the {'cat' if i % 2 else 'dog'} sat, number {i}" for i in range(100)]
    (tmp_path / "text.txt").write_text("\n\n".join(texts))
    rows = [{"prompt": f"is {i} odd?", "completion": "yes" if i % 2 else "no"} for i in range(24)]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = ["--data", str(tmp_path / "text.txt"), "--heads", "1", "--valid-fraction", "0.3", "--seed", "7"]
    assert main(["pretrain", *text, *SMALL, "--out", str(tmp_path / "base")]) == 0
    return tmp_path / "base"


def tuned(base, out, *flags):
    data = ["--data", str(base.parent / "c.jsonl"), "--from", str(base), "--max-steps", "4"]
    return main(["sft", *data, "--dtype", "fp32", "--device", "cpu", *flags, "--out", str(out)])


def loss_before(run) -> float:
    return json.loads((run / "metrics.json").read_text())["text_loss_before"]


def of_the_base(base, context=32) -> float:
    """By hand: on what the base kept aside, with its share and its seed."""
    model, tokenizer = load(base)
    _, valid = split(read_documents(base.parent / "text.txt"), 0.3, 7)
    return mean_loss(model, causal_lm, Windows(tokenize(valid, tokenizer), context, ROWS))


@pytest.mark.parametrize(("method", "context"), [("prompt", 16), ("lora", 32)])  # a prompt takes half of the room
def test_the_loss_before_is_the_base_s_whatever_an_adapter_begins_with(base, tmp_path, method, context):
    assert tuned(base, tmp_path / "out", "--method", method, "--rehearse", "0.5") == 0
    assert loss_before(tmp_path / "out") == pytest.approx(of_the_base(base, context), abs=1e-6)


def test_a_text_that_is_named_again_is_not_measured_on_what_was_learned(base, tmp_path):
    text = base.parent / "text.txt"
    moved = text.rename(base.parent / "moved.txt")
    assert tuned(base, tmp_path / "out", "--rehearse-text", str(moved)) == 0
    moved.rename(text)
    assert loss_before(tmp_path / "out") == pytest.approx(of_the_base(base), abs=1e-6)


@pytest.mark.parametrize("trunk", ["lstm", "decoder"])
def test_a_text_on_which_a_model_could_learn_can_be_rehearsed(base, tmp_path, trunk):
    (tmp_path / "few.txt").write_text("\n\n".join(f"the cat sat, number {i}" for i in range(20)))
    data = [
        "--data",
        str(tmp_path / "few.txt"),
        *SMALL,
        *(["--model", "lstm"] if trunk == "lstm" else ["--heads", "1"]),
    ]
    assert main(["pretrain", *data, "--context", "12", "--out", str(tmp_path / "new")]) == 0
    other = base.parent / "c.jsonl"
    (tmp_path / "c.jsonl").write_bytes(other.read_bytes())
    start = tmp_path / "new" if trunk == "lstm" else base  # a context of 12 has no room for a question
    more = [] if trunk == "lstm" else ["--rehearse-text", str(tmp_path / "few.txt")]
    assert tuned(start, tmp_path / "out", *more) == 0
    assert loss_before(tmp_path / "out") > 0


def test_a_text_of_one_document_is_rehearsed_up_to_its_end_which_measures(base, tmp_path):
    (tmp_path / "one.txt").write_text(" ".join(f"the cat sat, number {i}" for i in range(99)))
    assert tuned(base, tmp_path / "out", "--rehearse-text", str(tmp_path / "one.txt")) == 0
    assert loss_before(tmp_path / "out") > 0


def test_a_text_of_nothing_is_refused_by_its_name(base, tmp_path, capsys):
    (tmp_path / "no.txt").write_text("a")
    assert tuned(base, tmp_path / "out", "--rehearse-text", str(tmp_path / "no.txt")) == 2
    assert "no.txt" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_run_that_goes_on_has_the_text_that_it_began_with(base, tmp_path, monkeypatch, capsys):
    real, text, steps = life.fit, base.parent / "text.txt", []

    def stopped(model, loss, *more, **others):
        def until(*given):
            steps.append(1)
            if len(steps) == 3:
                raise KeyboardInterrupt
            return loss(*given)

        return real(model, until, *more, **others)

    monkeypatch.setattr(life, "fit", stopped)
    assert tuned(base, tmp_path / "out", "--rehearse", "0.5") == 130
    monkeypatch.setattr(life, "fit", real)
    goes_on = ["sft", "--resume", "--out", str(tmp_path / "out")]
    moved = text.rename(base.parent / "moved.txt")
    assert (
        main(goes_on) == 2
        and "text.txt, which this run rehearsed, is not there: bring it back to resume" in capsys.readouterr().err
    )
    text.write_text(moved.read_text().replace("cat", "cow"))
    assert main(goes_on) == 2 and "or what is rehearsed, are not those" in capsys.readouterr().err
    moved.replace(text)
    assert main(goes_on) == 0
    assert tuned(base, tmp_path / "whole", "--rehearse", "0.5") == 0
    assert (tmp_path / "out/model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()


def test_a_text_that_is_gone_is_said_to_be_where_nobody_asked_for_it(base, tmp_path, capsys):
    (base.parent / "text.txt").unlink()
    assert tuned(base, tmp_path / "out") == 0
    assert "text.txt, which" in capsys.readouterr().out


def test_a_text_that_is_in_shards_is_rehearsed_from_there(base, tmp_path):
    shards = str(tmp_path / "shards")
    text = ["--data", str(base.parent / "text.txt"), "--vocab-size", "280", "--workers", "1"]
    assert main(["prepare", *text, "--valid-fraction", "0.3", "--out", shards]) == 0
    size = "--depth 1 --width 16 --context 32 --max-steps 5 --dtype fp32 --device cpu --heads 1".split()
    assert main(["pretrain", "--data", shards, *size, "--out", str(tmp_path / "new")]) == 0
    assert tuned(base, tmp_path / "out", "--from", str(tmp_path / "new")) == 0
    model, _ = load(tmp_path / "new")
    expected = mean_loss(model, causal_lm, Windows(Shards(shards).tokens("valid"), 32, ROWS))
    assert loss_before(tmp_path / "out") == pytest.approx(expected, abs=1e-6)
