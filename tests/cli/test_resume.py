"""Runs that go on: with their own tokenizer and tokens, in a folder that nobody else uses, whatever was damaged."""

import json
import os
import shutil

import pytest
import torch

from minillm.cli import main
from minillm.hub import load_model
from minillm.peft import LoRA, inject, load_adapter, save_adapter
from minillm.system import FolderLock, load_file, save_file, write_json
from minillm.text import Tokenizer
from minillm.training import trainer

TINY = "--depth 1 --width 16 --heads 2 --vocab-size 280 --max-steps 4 --eval-every 2 --dtype fp32 --device cpu".split()


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("\n\n".join(f"a good film, number {i}, odd or even" for i in range(60)))
    return str(path)


def stopped(monkeypatch, arguments):
    """Run a command that is killed after its first checkpoint."""
    save = trainer.Trainer.save_checkpoint

    def stop(self, *more):
        save(self, *more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(trainer.Trainer, "save_checkpoint", stop)
        assert main(arguments) == 130


def refuse(*_, **__):
    raise AssertionError("not again")


def command(stage, text, records, *more):
    data = records if stage == "classify" else text
    return [stage, "--data", data, *TINY, *(["--context", "32"] if stage != "classify" else []), *more]


@pytest.mark.parametrize("stage", ["pretrain", "mlm", "classify"])
def test_a_run_that_goes_on_neither_trains_a_tokenizer_nor_tokenizes_its_text(
    text, records, tmp_path, monkeypatch, stage
):
    assert main(command(stage, text, records, "--out", str(tmp_path / "whole"))) == 0
    stopped(monkeypatch, command(stage, text, records, "--out", str(tmp_path / "parts")))
    with monkeypatch.context() as patched:
        patched.setattr(Tokenizer, "train", refuse)
        if stage != "classify":  # which tokenizes record by record
            patched.setattr(Tokenizer, "encode_batch", refuse)
            patched.setattr(Tokenizer, "decode", lambda *_, **__: "x")
        if stage == "pretrain":
            patched.setattr("minillm.cli.pretrain.write", lambda *_, **__: ["x"])
        assert main([stage, "--resume", "--out", str(tmp_path / "parts")]) == 0
    whole, parts = (load_file(tmp_path / run / "model.safetensors")[0] for run in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)


def test_tokens_of_another_text_are_not_taken_for_those_of_the_run(text, records, tmp_path, monkeypatch, capsys):
    stopped(monkeypatch, command("pretrain", text, records, "--out", str(tmp_path / "run")))
    shutil.copyfile(text, f"{text}.old")
    with open(text, "a") as file:
        file.write("\n\nmore")
    assert main(["pretrain", "--resume", "--out", str(tmp_path / "run")]) == 2
    assert "the text is not the one that this run began with" in capsys.readouterr().err
    os.replace(f"{text}.old", text)
    assert main(["pretrain", "--resume", "--out", str(tmp_path / "run")]) == 0


def test_show_writes_nothing(text, records, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir(tmp_path))
    for stage in ("pretrain", "mlm", "classify"):
        assert main(command(stage, text, records, "--show")) == 0
        assert main(command(stage, text, records, "--show", "--out", "run")) == 0
    assert sorted(os.listdir(tmp_path)) == before


def test_a_run_in_use_is_refused_and_its_neighbour_begins(text, records, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = command("bigram", text, records)
    stopped(monkeypatch, flags)
    held = FolderLock("runs/bigram")
    held.acquire()
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    for more in (["--resume"], ["--out", "runs/bigram"], ["--resume", "--out", "runs/bigram"]):
        assert main([*flags, *more]) == 2
        said = capsys.readouterr().err.strip().split("\n")[-1]
        assert f"runs/bigram is in use by process {os.getpid()}" in said, said
    assert before == {path: path.read_bytes() for path in before}
    assert main(flags) == 0 and sorted(os.listdir("runs")) == ["bigram", "bigram-2"]
    held.release()
    assert main(["bigram", "--resume", "--out", "runs/bigram"]) == 0
    one, two = (load_file(f"runs/{name}/model.safetensors")[0] for name in ("bigram", "bigram-2"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert sorted(os.listdir("runs/bigram")) == sorted(os.listdir("runs/bigram-2"))


def test_bad_data_leaves_no_folder_also_not_a_claimed_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["pretrain", "--data", "nothing.txt"]) == 2
    assert main(["pretrain", "--data", "nothing.txt", "--out", "a/b/c"]) == 2
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("name", "value"), [("seed", "0"), ("clip", None), ("optimizer", "x"), ("resume", 1)])
def test_a_setting_of_another_kind_is_named(text, records, tmp_path, monkeypatch, capsys, name, value):
    stopped(monkeypatch, command("pretrain", text, records, "--out", str(tmp_path / "run")))
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    config["settings"][name] = value
    write_json(path, config)
    assert main(["pretrain", "--resume", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.strip().split("\n")[-1]
    assert f'config.json: "{name}" among the settings is {json.dumps(value)}, which --{name} cannot be' in said


def test_damaged_best_weights_are_noticed_before_the_steps_that_are_left(text, records, tmp_path, monkeypatch, capsys):
    stopped(monkeypatch, command("pretrain", text, records, "--out", str(tmp_path / "run")))
    path = tmp_path / "run" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    log = (tmp_path / "run" / "log.jsonl").read_bytes()
    assert main(["pretrain", "--resume", "--out", str(tmp_path / "run")]) == 2
    assert "model.safetensors: not a whole safetensors file" in capsys.readouterr().err
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == log


def test_a_model_that_diverged_is_refused_by_name(text, records, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(command("bigram", text, records, "--out", str(run))) == 0
    tensors, metadata = load_file(run / "model.safetensors")
    save_file({name: tensor * float("nan") for name, tensor in tensors.items()}, run / "model.safetensors", metadata)
    assert main(["generate", "--from", str(run)]) == 2
    assert "model.safetensors: table.weight holds numbers that are not finite" in capsys.readouterr().err


def test_a_size_that_the_weights_do_not_fill_is_refused_before_it_is_built(text, records, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(command("pretrain", text, records, "--out", str(run))) == 0
    path = run / "config.json"
    config = json.loads(path.read_text())
    for name, value in (("layers", 10**9), ("width", 10**15), ("vocab_size", 10**12), ("layers", "x"), ("heads", None)):
        write_json(path, config | {"model": config["model"] | {name: value}})
        assert main(["generate", "--from", str(run)]) == 2
        assert "config.json: does not describe a model: " in capsys.readouterr().err


def test_an_adapter_of_two_files_is_still_read_and_becomes_one(text, records, tmp_path):
    assert main(command("pretrain", text, records, "--out", str(tmp_path / "base"))) == 0
    model = inject(load_model(tmp_path / "base"), LoRA(rank=2, alpha=3.0, targets=("query", "value")), "a")
    for parameter in model.parameters():
        parameter.data.add_(0.01)
    folder = tmp_path / "adapter"
    assert save_adapter(model, folder) == (folder / "adapter.safetensors").stat().st_size
    assert os.listdir(folder) == ["adapter.safetensors"]
    tensors, metadata = load_file(folder / "adapter.safetensors")
    one = load_adapter(load_model(tmp_path / "base"), folder)
    save_file(tensors, folder / "adapter.safetensors")  # as before
    write_json(folder / "adapter.json", json.loads(metadata["adapter"]))
    two = load_adapter(load_model(tmp_path / "base"), folder)
    ids = torch.arange(8)[None]
    assert torch.equal(one(ids), two(ids)) and not torch.equal(one(ids), load_model(tmp_path / "base")(ids))
    save_adapter(model, folder)
    assert os.listdir(folder) == ["adapter.safetensors"]
    (folder / "adapter.json").write_text("of another")  # whatever it says: the file has its own
    assert torch.equal(load_adapter(load_model(tmp_path / "base"), folder)(ids), one(ids))
    for settings in (
        "{}",
        '{"method": "x", "settings": {}}',
        '{"method": "lora", "settings": {"rank": "x"}}',
        "[" * 9999,
    ):
        save_file(tensors, folder / "adapter.safetensors", {"adapter": settings})
        with pytest.raises(ValueError, match=r"adapter\.safetensors: "):
            load_adapter(load_model(tmp_path / "base"), folder)
