"""Runs that train an adapter: its files, its base found again, resumed to the same bits, refused where it must."""

import json
import shutil

import pytest
import torch

from minillm.cli import main
from minillm.hub import load_model
from minillm.peft import METHODS, adapter_names, adapters, merge, remove
from minillm.system import load_file
from minillm.training import RunFolder, trainer

SMALL = "--max-steps 4 --eval-every 2 --dtype fp32 --device cpu".split()
MODEL = "--depth 2 --width 16 --heads 2 --vocab-size 280 --max-steps 4 --dtype fp32 --device cpu".split()


@pytest.fixture
def conversations(tmp_path):
    path = tmp_path / "c.jsonl"
    rows = [{"prompt": f"is {i} odd", "completion": "yes" if i % 2 else "no"} for i in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of mlm and one of pretrain."""
    folder = tmp_path_factory.mktemp("trained")
    text = folder / "text.txt"
    text.write_text("\n\n".join(f"a good film, number {i}, and a bad one, is odd: yes or no" for i in range(400)))
    for stage in ("mlm", "pretrain"):
        assert main([stage, "--data", str(text), *MODEL, "--out", str(folder / stage)]) == 0
    return folder


@pytest.fixture
def bases(trained, tmp_path):
    """The same in every test's own folder."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)


def tune(stage, base, data, out, *more):
    return main([stage, "--data", data, "--from", str(base), *SMALL, "--out", str(out), *more])


@pytest.mark.parametrize("method", METHODS)
def test_a_run_of_any_method_writes_the_adapter_alone_and_is_loaded_with_its_base(
    bases, records, tmp_path, capsys, method
):
    run, before = tmp_path / "run", (tmp_path / "mlm" / "model.safetensors").read_bytes()
    assert tune("classify", tmp_path / "mlm", records, run, "--method", method, "--adapter-learning-rate", "0.1") == 0
    said = capsys.readouterr().out
    metrics = json.loads((run / "metrics.json").read_text())
    assert f"{metrics['trainable_parameters']:,} of {metrics['parameters']:,} parameters learn (" in said
    assert not (run / "model.safetensors").exists() and not (run / "adapter.json").exists()
    sizes = (run / "adapter.safetensors").stat().st_size
    assert metrics["adapter_bytes"] == sizes < len(before)
    assert f"{sizes:,} bytes" in said
    saved = load_file(run / "adapter.safetensors")[0]
    assert {"head.weight", "head.bias"} < saved.keys() and not any("embedding" in name for name in saved)
    assert not any("network" in name or "encoder" in name for name in saved)  # thrown away
    model = load_model(run)
    assert adapter_names(model) and model.head.weight.abs().sum() > 0
    for name, weight in load_model(tmp_path / "mlm").state_dict().items():
        assert torch.equal(remove(load_model(run)).trunk.state_dict()[name], weight)
    assert (tmp_path / "mlm" / "model.safetensors").read_bytes() == before
    assert main(["predict", "--from", str(run), "--text", "a good film", "--device", "cpu"]) == 0
    asked = json.loads(capsys.readouterr().out)
    first = json.loads((run / "predictions.jsonl").read_text().splitlines()[0])
    assert asked["label"] in ("0", "1") and set(first) == {"texts", "label", "predicted", "probability"}


@pytest.mark.parametrize("method", METHODS)
def test_an_assistant_may_be_an_adapter(bases, conversations, tmp_path, capsys, method):
    run = tmp_path / "run"
    assert tune("sft", tmp_path / "pretrain", conversations, run, "--method", method) == 0
    asked = ["--from", str(run), "--prompt", "is 3 odd", "--temperature", "0", "--dtype", "fp32", "--device", "cpu"]
    capsys.readouterr()
    assert main(["generate", *asked, "--max-new-tokens", "5"]) == 0
    text = capsys.readouterr().out
    model = load_model(run)
    if METHODS[method].key in ("lora", "adalora", "ia3", "bitfit"):
        plain = remove(merge(model))
        assert not adapters(plain)
    assert isinstance(text, str)
    assert main(["eval", "--from", str(run), "--data", str(tmp_path / "text.txt"), "--device", "cpu"]) == 0


def test_what_learns_beside_an_adapter_is_kept_with_it(bases, conversations, tmp_path):
    run = tmp_path / "run"
    assert tune("sft", tmp_path / "pretrain", conversations, run, "--method", "lora", "--also", "embedding,head") == 0
    saved = load_file(run / "adapter.safetensors")[0]
    assert {"embedding.weight", "head.weight", "blocks.0.attention.query.A"} < saved.keys()
    before, after = load_model(tmp_path / "pretrain"), load_model(run)
    assert torch.equal(after.embedding.weight, saved["embedding.weight"])
    assert not torch.equal(after.embedding.weight, before.embedding.weight)
    assert torch.equal(remove(after).blocks[0].attention.query.weight, before.blocks[0].attention.query.weight)


@pytest.mark.parametrize("method", ["lora", "adalora", "ptuning", "prefix"])
def test_a_killed_run_goes_on_to_the_same_bits(bases, records, tmp_path, monkeypatch, method):
    more = ["--method", method, "--eval-every", "3", "--max-steps", "9"]
    more += {"prefix": ["--prompt-network", "8"], "adalora": ["--rank", "3"], "lora": ["--adapter-dropout", "0.3"]}.get(
        method, []
    )
    assert tune("classify", tmp_path / "mlm", records, tmp_path / "whole", *more) == 0
    save, calls = trainer.Trainer.save_checkpoint, []

    def stop(self, *more):
        save(self, *more)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer.Trainer, "save_checkpoint", stop)
    assert tune("classify", tmp_path / "mlm", records, tmp_path / "parts", *more) == 130
    monkeypatch.undo()
    assert main(["classify", "--resume", "--out", str(tmp_path / "parts")]) == 0
    whole, parts = (load_file(tmp_path / run / "adapter.safetensors")[0] for run in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("method", ["ptuning", "prefix"])
def test_a_run_killed_while_it_is_scored_can_be_ended(bases, records, tmp_path, monkeypatch, method):
    def stop(*_, **__):
        raise KeyboardInterrupt

    more = ["--method", method, "--prompt-network", "8"]
    monkeypatch.setattr("minillm.cli.finetune.loss_curve", stop)  # the network is thrown away by now
    assert tune("classify", tmp_path / "mlm", records, tmp_path / "parts", *more) == 130
    monkeypatch.undo()
    assert main(["classify", "--resume", "--out", str(tmp_path / "parts")]) == 0
    assert tune("classify", tmp_path / "mlm", records, tmp_path / "whole", *more) == 0
    whole, parts = (load_file(tmp_path / run / "adapter.safetensors")[0] for run in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)


def test_an_adapter_stands_on_another_and_on_a_moved_base(bases, records, tmp_path):
    assert tune("classify", tmp_path / "mlm", records, tmp_path / "first", "--method", "lora") == 0
    assert tune("classify", tmp_path / "first", records, tmp_path / "second", "--method", "lora", "--rank", "2") == 0
    model = load_model(tmp_path / "second")
    assert adapter_names(model) == ["lora-1", "lora-2"]
    place = tmp_path / "elsewhere"
    place.mkdir()
    for run in ("mlm", "first", "second"):
        shutil.move(tmp_path / run, place / run)
    moved = load_model(place / "second")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), moved.state_dict().values()))


def test_a_base_that_is_gone_or_was_trained_anew_is_missed_in_words(bases, records, tmp_path, capsys):
    run = tmp_path / "run"
    assert tune("classify", tmp_path / "mlm", records, run, "--method", "bitfit") == 0
    (tmp_path / "mlm").rename(tmp_path / "gone")
    assert main(["predict", "--from", str(run), "--text", "x"]) == 2
    assert "which is gone: bring it back" in capsys.readouterr().err
    (tmp_path / "gone").rename(tmp_path / "mlm")
    weights = RunFolder(tmp_path / "mlm").model_file
    weights.write_bytes((tmp_path / "pretrain" / "model.safetensors").read_bytes())
    assert main(["predict", "--from", str(run), "--text", "x"]) == 2
    assert "has been trained anew since" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "lora", "--targets", "q_proj"], "matches 'q_proj'; what it could adapt is called: query, key"),
        (
            ["--method", "lora", "--prompt-length", "4"],
            "--prompt-length goes with --method prompt or ptuning or prefix",
        ),
        (["--rank", "4"], "--rank goes with --method lora or adalora or adapter, not with full"),
        (["--method", "head", "--adapter-learning-rate", "1"], "--method head has none"),
        (["--also", "head"], "--also is for adapters, and --method full has none"),
        (["--method", "lora", "--also", "table"], "no parameters under 'table'; it has trunk, head"),
        (["--method", "norm"], "have nothing to learn: choose another method"),
        (["--method", "lora", "--rank", "-1"], "the rank is -1"),
        (["--method", "lora", "--alpha", "nan"], "alpha is nan: it must be positive"),
        (["--method", "adalora", "--alpha", "-1"], "alpha is -1.0: it must be positive"),
        (["--method", "ptuning", "--prompt-network", "-1"], "inner is -1: it must be at least 0"),
        (["--method", "lora", "--adapter-learning-rate", "inf"], "learning_rate is inf: it must be a number from 0 up"),
        (["--method", "prompt", "--prompt-length", "5000"], "leaves no room in a context of"),
        (["--method", "adalora", "--rank", "4", "--target-rank", "9"], "must lie between 0 and the rank, 4"),
        (["--method", "llama_adapter", "--targets", "query"], "--targets goes with --method lora or"),
    ],
)
def test_what_a_method_cannot_do_is_refused_before_anything_is_written(
    bases, records, tmp_path, capsys, flags, message
):
    assert tune("classify", tmp_path / "mlm", records, tmp_path / "run", *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["lora", "adalora", "ia3"])
def test_a_merged_run_stands_alone_and_says_the_same(bases, records, tmp_path, capsys, method):
    run, whole = tmp_path / "run", tmp_path / "whole"
    assert tune("classify", tmp_path / "mlm", records, run, "--method", method, "--adapter-learning-rate", "0.1") == 0
    before = load_model(run)
    assert main(["merge", "--from", str(run), "--out", str(whole)]) == 0
    shutil.rmtree(tmp_path / "mlm")
    shutil.rmtree(run)
    after = load_model(whole)
    assert not adapter_names(after) and RunFolder(whole).finished
    ids = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(after(ids), before(ids), atol=1e-5, rtol=1e-5)
    assert main(["predict", "--from", str(whole), "--text", "a good film", "--device", "cpu"]) == 0
    assert tune("classify", whole, records, tmp_path / "again", "--method", "lora") == 0  # a base like any other


def test_what_cannot_be_merged_is_refused_and_nothing_is_written(bases, records, tmp_path, capsys):
    assert tune("classify", tmp_path / "mlm", records, tmp_path / "run", "--method", "prefix") == 0
    for source, message in (("run", "(prefix) is no change of weights"), ("mlm", "holds no adapter"), ("no", "no run")):
        assert main(["merge", "--from", str(tmp_path / source), "--out", str(tmp_path / "whole")]) == 2
        assert message in capsys.readouterr().err
    assert tune("classify", tmp_path / "mlm", records, tmp_path / "biases", "--method", "bitfit") == 0
    assert main(["merge", "--from", str(tmp_path / "biases"), "--out", str(tmp_path / "whole")]) == 2
    assert "has no place for" in capsys.readouterr().err  # our own recipe has no biases
    assert main(["merge"]) == 2
    assert "merge needs --from" in capsys.readouterr().err
    assert not (tmp_path / "whole").exists()


def test_an_adapter_needs_a_trained_model(records, tmp_path, capsys):
    small = ["--depth", "1", "--width", "16", "--heads", "2", "--vocab-size", "280"]
    flags = ["classify", "--data", records, *SMALL, *small, "--method", "lora", "--out", str(tmp_path / "run")]
    assert main(flags) == 2
    assert "adapts a trained model: name its run by --from" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["lora", "adalora", "prefix"])
def test_a_checkpoint_holds_what_an_adapter_changes_and_not_the_model_below_it(bases, conversations, tmp_path, method):
    run, base = tmp_path / "run", load_file(tmp_path / "pretrain" / "model.safetensors")[0]
    assert tune("sft", tmp_path / "pretrain", conversations, run, "--method", method) == 0
    kept = load_file(run / "last" / "training.safetensors")[0]
    names = {name.removeprefix("model.") for name in kept if name.startswith("model.")}
    assert names and not names & base.keys() and not any(name.endswith(".base.weight") for name in names)
