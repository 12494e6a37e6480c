"""How a stage tunes a model, from the command line: what moves, what is counted, what goes on, what is refused."""

import json

import pytest
import torch

from minillm.cli import main
from minillm.cli.finetune import tuning_config
from minillm.cli.flags import build
from minillm.cli.heads import HeadSettings
from minillm.cli.methods import MethodSettings, prepare
from minillm.hub import load_model
from minillm.models import Decoder, ModelConfig
from minillm.training import RunFolder, trainer

SMALL = "--depth 2 --width 16 --heads 2 --vocab-size 280 --max-steps 3 --dtype fp32 --device cpu".split()


@pytest.fixture
def encoder(tmp_path):
    """A run of mlm, of two layers."""
    (tmp_path / "text.txt").write_text("\n\n".join(f"a good film, number {i}, and a bad one" for i in range(40)))
    run = tmp_path / "mlm"
    assert main(["mlm", "--data", str(tmp_path / "text.txt"), *SMALL, "--max-steps", "6", "--out", str(run)]) == 0
    return run


def changed(before, run):
    """The trunk's parameters that a run of classify changed."""
    after = load_model(run).trunk.state_dict()
    return {name for name, w in load_model(before).state_dict().items() if not torch.equal(w, after[name])}


@pytest.mark.parametrize("method", ["head", "last", "full"])
def test_a_method_changes_what_it_says_and_counts_it(records, encoder, tmp_path, capsys, method):
    run = tmp_path / "run"
    flags = ["--method", method, "--max-steps", "3", "--eval-every", "3", "--dtype", "fp32", "--device", "cpu"]
    assert main(["classify", "--data", records, "--from", str(encoder), *flags, "--out", str(run)]) == 0
    moved = changed(encoder, run)
    model = load_model(run)
    assert model.head.weight.abs().sum() > 0  # it began at zero
    layer = {f"blocks.1.{name}" for name, _ in model.trunk.blocks[1].named_parameters()}
    if method == "full":
        assert layer < moved and "embedding.weight" in moved
        learns = sum(p.numel() for name, p in model.named_parameters() if name != "trunk.head.weight")  # of no use here
    else:
        assert moved == (layer if method == "last" else set())
        learns = 2 * 16 + 2 + (sum(p.numel() for p in model.trunk.blocks[1].parameters()) if method == "last" else 0)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["trainable_parameters"] == learns <= metrics["parameters"]
    said = f"SequenceClassifier: {learns:,} of {metrics['parameters']:,} parameters learn"
    assert said in capsys.readouterr().out
    assert RunFolder(run).config()["settings"]["method"] == method


@pytest.mark.parametrize(
    "extra", [["--unfreeze", "--layer-decay", "0.4"], ["--method", "last", "--last", "2", "--unfreeze"]]
)
def test_a_stopped_run_whose_layers_begin_one_after_another_goes_on_to_the_same_bits(
    records, encoder, tmp_path, monkeypatch, extra
):
    arguments = [
        "classify",
        "--data",
        records,
        "--from",
        str(encoder),
        *extra,
        "--max-steps",
        "12",
        "--eval-every",
        "2",
    ]
    assert main([*arguments, "--out", str(tmp_path / "whole")]) == 0
    step = trainer.Trainer.step

    def stop_at_5(self, batches):
        if self.history.step == 5:
            raise KeyboardInterrupt
        return step(self, batches)

    monkeypatch.setattr(trainer.Trainer, "step", stop_at_5)
    assert main([*arguments, "--out", str(tmp_path / "part")]) == 130
    monkeypatch.undo()
    assert main(["classify", "--resume", "--out", str(tmp_path / "part")]) == 0
    for name in ("model.safetensors", "log.jsonl", "predictions.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "part" / name).read_bytes()
    metrics = [json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("whole", "part")]
    assert metrics[0]["trainable_parameters"] == metrics[1]["trainable_parameters"]


def test_the_flags_of_a_method_reach_the_loop():
    settings = build(HeadSettings, {"layer_decay": 0.5, "unfreeze": True, "patience": 3, "dtype": "fp32"})
    config = tuning_config(settings, 100)
    assert (config.layer_decay, config.unfreeze, config.patience, config.dtype) == (0.5, True, 3, "fp32")


def test_of_a_language_model_the_head_is_the_output_layer():
    model = Decoder(ModelConfig(20, context=8, layers=2, width=16, heads=2))
    size = f"{sum(p.numel() for p in model.parameters()):,}"
    assert prepare(model, MethodSettings(method="head")).learns == f"320 of {size} parameters learn (6.73%)"
    assert prepare(model, MethodSettings()).learns == f"{size} of {size} parameters learn"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["classify", "--last", "1"], "--last 1 goes with --method last, not with full"),
        (
            ["classify", "--method", "last", "--last", "3"],
            "the last 3 layers of this SequenceClassifier: its layers number 2",
        ),
        (["classify", "--method", "head", "--layer-decay", "0.5"], "--layer-decay has no use here: with --method head"),
        (["classify", "--method", "head", "--unfreeze"], "--unfreeze has no use here: with --method head one layer"),
        (["classify", "--layer-decay", "nan"], "layer_decay is nan: it must be positive"),
        (["classify", "--patience", "-1"], "patience is -1: it must be a number from 0 up"),
        (["classify", "--dropout", "nan"], "dropout is nan: it must lie in [0, 1)"),
        (["mlm", "--mask", "nan"], "--mask nan: the share of tokens to hide must lie between 0 and 1"),
        (["mlm", "--decay-share", "-1"], "decay_share is -1.0: it must lie between 0 and 1"),
        (["classify", "--layer-decay", "0"], "layer_decay is 0.0: it must be positive"),
        (["classify", "--unfreeze", "--layer-decay", "-1"], "layer_decay is -1.0"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(records, tmp_path, capsys, flags, words):
    stage, *rest = flags
    assert main([stage, "--data", records, *SMALL, *rest, "--out", str(tmp_path / "none")]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_vectors_of_texts_have_no_head_to_train_alone(tmp_path, capsys):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"text_a": f"lamp {i}", "text_b": f"the lamp {i}"}) + "\n" for i in range(20)))
    assert main(["encode", "--data", str(pairs), *SMALL, "--method", "head", "--out", str(tmp_path / "none")]) == 2
    assert "this TextEncoder has no output layer of its own" in capsys.readouterr().err
    assert main(["encode", "--data", str(pairs), *SMALL, "--method", "last", "--out", str(tmp_path / "run")]) == 0
