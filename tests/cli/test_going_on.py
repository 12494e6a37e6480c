"""Runs that begin with runs: whose size they have, which is the newest, what a finished one says, from which folder."""

import json
import os
import shutil
from pathlib import Path

import pytest

from minillm import training
from minillm.cli import main
from minillm.cli.memory import check_batches, check_size
from minillm.data import Padded
from minillm.models import Decoder, ModelConfig
from minillm.system import Compute, pick_device
from minillm.training import RunFolder, latest_run

SIZE = "--depth 1 --width 24 --heads 2 --context 16 --vocab-size 280".split()
STEPS = "--batch-size 4 --max-steps 4 --dtype fp32 --device cpu".split()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A decoder, an LSTM and an encoder, each smaller than the defaults."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "a.txt").write_text("\n\n".join(f"The hen number {i} sat by the pond and sang." for i in range(60)))
    for name, flags in {"pretrain": [], "lstm": ["--model", "lstm"], "mlm": []}.items():
        command = "mlm" if name == "mlm" else "pretrain"
        assert main([command, "--data", str(folder / "a.txt"), *SIZE, *STEPS, *flags, "--out", str(folder / name)]) == 0
    return folder


@pytest.mark.parametrize(("name", "command"), [("pretrain", "pretrain"), ("lstm", "pretrain"), ("mlm", "mlm")])
def test_a_run_that_goes_on_has_the_size_of_the_first_everywhere(made, tmp_path, capsys, name, command):
    flags = ["--data", str(made / "a.txt"), "--from", str(made / name), *STEPS, "--out", str(tmp_path / "b")]
    flags += ["--context", "16"] if name == "lstm" else []  # which reads any number of tokens
    assert main([command, *flags]) == 0
    said, settings = capsys.readouterr().out, RunFolder(tmp_path / "b").config()["settings"]
    assert "1 layers, 24 channels" in said
    assert (settings["depth"], settings["width"], settings["context"]) == (1, 24, 16)
    assert RunFolder(tmp_path / "b").config()["model"] == RunFolder(made / name).config()["model"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["pretrain", "--from", "pretrain", "--width", "64"], "--width has no use here"),
        (["pretrain", "--from", "pretrain", "--tokenizer", "characters"], "--tokenizer has no use here"),
        (["mlm", "--from", "mlm", "--heads", "2"], "--heads has no use here"),
        (["mlm", "--from", "mlm", "--context", "99"], "--context 99 is longer than the 16"),
        (["bigram", "--from", "pretrain"], "holds a decoder: bigram goes on from a run of bigram"),
    ],
)
def test_a_size_that_is_not_the_runs_own_is_refused_and_nothing_is_written(made, tmp_path, capsys, line, words):
    line = [str(made / word) if word in ("pretrain", "mlm") and i else word for i, word in enumerate(line)]
    assert main([*line, "--data", str(made / "a.txt"), "--out", str(tmp_path / "b")]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "b").exists()


def test_a_new_trunks_flags_are_refused_beside_a_run(made, tmp_path, capsys, records):
    flags = ["--data", records, "--from", str(made / "mlm"), "--depth", "3", "--out", str(tmp_path / "b")]
    assert main(["classify", *flags]) == 2
    assert "--depth has no use here: the trunk and its tokenizer are those of" in capsys.readouterr().err


def folder_of(runs: Path, name: str, stage: str, age: int, **settings) -> None:
    """A folder that looks like a run, so many seconds old."""
    (runs / name).mkdir(parents=True)
    (runs / name / "config.json").write_text(json.dumps({"stage": stage, "settings": settings}))
    (runs / name / "model.safetensors").touch()
    os.utime(runs / name / "config.json", (1e9 - age, 1e9 - age))


def test_the_newest_run_is_found_by_its_stage_and_not_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(training.runs, "RUNS", tmp_path)
    folder_of(tmp_path, "pretrain-mlm", "mlm", 1)
    folder_of(tmp_path, "mine", "pretrain", 5, task="")
    folder_of(tmp_path, "pretrain", "pretrain", 9)
    folder_of(tmp_path, "good", "sft", 3, task="letters", data=None)
    folder_of(tmp_path, "letters-of-mine", "sft", 4, task="letters", data="a.json")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    assert latest_run("pretrain").path.name == "mine"
    assert latest_run("mlm").path.name == "pretrain-mlm"
    assert latest_run("letters", "sft").path.name == "good"
    assert latest_run("sft").path.name == "letters-of-mine"
    assert latest_run("sft", whole=False).path.name == "good"
    with pytest.raises(ValueError, match=rf"no run of reward in {tmp_path}: .* or name one by --reward"):
        latest_run("reward", flag="--reward")


def test_a_finished_run_says_so_when_it_is_to_go_on(made, tmp_path, capsys):
    flags = ["--data", str(made / "a.txt"), *SIZE, *STEPS, "--max-steps", "60", "--eval-every", "1", "--patience", "1"]
    run = tmp_path / "run"
    assert main(["pretrain", *flags, "--learning-rate", "1e3", "--head-learning-rate", "1e3", "--out", str(run)]) == 0
    first = json.loads((run / "metrics.json").read_text())
    assert first["steps"] < 60 and first["stopped"] == "no better evaluation in 1"
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    capsys.readouterr()
    assert main(["pretrain", "--resume", "--out", str(run)]) == 0
    assert f"is finished, after {first['steps']} steps (no better evaluation in 1)" in capsys.readouterr().out
    assert before == {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    (run / "metrics.json").unlink()  # killed before its report was whole
    assert main(["pretrain", "--resume", "--out", str(run)]) == 0
    again = json.loads((run / "metrics.json").read_text())
    assert (again["steps"], again["stopped"]) == (first["steps"], first["stopped"])
    assert again["val_loss"] == first["val_loss"]


def test_a_run_finds_its_files_from_any_folder(tmp_path, monkeypatch, capsys, records):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    shutil.copy(records, tmp_path / "here" / "mine.jsonl")
    monkeypatch.chdir(tmp_path / "here")
    assert main(["classify", "--data", "mine.jsonl", *SIZE, *STEPS, "--out", "run"]) == 0
    monkeypatch.chdir(tmp_path / "there")
    assert main(["eval", "--from", "../here/run", "--dtype", "fp32"]) == 0
    saved = json.loads((tmp_path / "here" / "run" / "metrics.json").read_text())
    (tmp_path / "here" / "run" / "metrics.json").unlink()
    assert main(["classify", "--resume", "--out", "../here/run", "--data", "../here/mine.jsonl"]) == 0
    again = json.loads((tmp_path / "here" / "run" / "metrics.json").read_text())
    assert again["accuracy"] == saved["accuracy"]


class Small(Compute):
    """A machine with a gigabyte."""

    def total_memory(self) -> float:
        return 1e9


def test_what_cannot_fit_is_refused_and_what_fits_is_not():
    compute = Small(*pick_device("cpu", "fp32"))
    check_size(compute, 50_000, 1024, 12, 256)  # 9 M weights of layers, 13 M of the embedding
    with pytest.raises(ValueError, match=r"12 layers and 1,024 channels needs at least 2 GB .* and this machine has 1"):
        check_size(compute, 50_000, 1024, 12, 1024)
    model = Decoder(ModelConfig(10, 16, layers=1, width=32, heads=1))
    batches = lambda size: Padded([{"input_ids": [1] * 10}] * 5, 0, size)  # noqa: E731
    check_batches(compute, model, batches(1000))
    with pytest.raises(ValueError, match=r"a batch of 1,000,000, about 10,000,000 tokens, needs at least 11 GB"):
        check_batches(compute, model, batches(1_000_000))
    real = pick_device("cpu").total_memory()
    assert real == pytest.approx(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) or real < 1e13


@pytest.mark.parametrize(
    "flags", [["--depth", "1000", "--width", "2048"], ["--batch-size", "90000000"], ["--width", "2000000"]]
)
def test_sizes_beyond_the_machine_are_one_sentence_before_anything_begins(made, tmp_path, capsys, flags):
    line = ["pretrain", "--data", str(made / "a.txt"), "--context", "16", "--heads", "1", *flags]
    assert main([*line, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.strip()
    assert "GB of memory to train" in said and flags[0] in said and not (tmp_path / "run").exists()


def test_memory_that_runs_out_is_one_sentence(made, tmp_path, capsys, monkeypatch):
    said = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
    for error in (RuntimeError(said), MemoryError()):

        def full(*args, error=error, **named):
            raise error

        monkeypatch.setattr("minillm.cli.life.fit", full)
        flags = ["--data", str(made / "a.txt"), *SIZE, *STEPS, "--out", str(tmp_path / type(error).__name__)]
        assert main(["pretrain", *flags]) == 2
        assert "out of memory" in capsys.readouterr().err


@pytest.mark.parametrize("context", ["1", "2", "-1"])
def test_an_encoder_that_has_no_room_for_a_text_is_refused(made, tmp_path, capsys, context):
    line = ["mlm", "--data", str(made / "a.txt"), *SIZE, *STEPS, "--context", context]
    assert main([*line, "--out", str(tmp_path / "run")]) == 2
    assert "context" in capsys.readouterr().err and not (tmp_path / "run").exists()
