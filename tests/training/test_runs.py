"""The run folder: one owner, nothing left behind, and what is damaged is named."""

import json
import math
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from minillm.system import Damaged, FolderLock, load_file, save_file, write_json
from minillm.training import History, RunFolder, Taken, build_optimizer, claimed, claimed_by_name, continued


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def begin(run):
    write_json(run.path / "config.json", {"stage": "x", "model": {}})


def test_a_folder_is_made_and_locked_and_kept_when_a_run_begins_in_it(here):
    with claimed(here / "deep" / "run") as run:
        assert os.listdir(run.path) == [".lock"]
        begin(run)
    assert os.listdir(run.path) == ["config.json"]
    with pytest.raises(Taken, match="already holds a run; continue it with --resume"), claimed(run.path):
        pass
    with continued(run):
        for another in (claimed(run.path), continued(run)):
            with pytest.raises(ValueError, match=f"is in use by process {os.getpid()}"), another:
                pass
    assert os.listdir(run.path) == ["config.json"]


def test_nothing_is_left_of_a_run_that_does_not_begin(here):
    with pytest.raises(KeyError), claimed(here / "deep" / "run") as run:
        (run.path / "tokenizer.json").write_text("{}")
        save_file({}, run.path / "last" / "tokens_train.safetensors")
        raise KeyError
    assert os.listdir(here) == []
    own = here / "own"
    own.mkdir()
    with claimed(own) as run:
        (run.path / "tokenizer.json").write_text("{}")
        (here / "own" / ".a.tmp").write_text("")
    assert os.listdir(own) == []  # the folder was there before


def test_a_folder_with_anything_of_somebody_in_it_is_not_taken_and_not_touched(here):
    for name in ("notes.txt", "tokenizer.json", "last/training.safetensors", ".lock"):
        path = here / name.replace("/", "-") / name
        path.parent.mkdir(parents=True)
        path.write_text("mine")
        if name == ".lock":  # left by a process that was killed
            (path.parent / "log.jsonl").write_text("mine")
        with pytest.raises(Taken, match="is not empty: choose another folder"), claimed(here / name.replace("/", "-")):
            pass
        assert path.name == ".lock" or path.read_text() == "mine"
    assert (here / ".lock" / "log.jsonl").read_text() == "mine"


def test_who_comes_after_a_killed_process_starts_over_in_its_folder(here):
    """A real kill, while the folder is claimed and some files are written."""
    code = (
        "import os\nfrom minillm.training import claimed_by_name\nwith claimed_by_name('pretrain') as run:\n"
        "    for name in ('tokenizer.json', '.tokenizer.json.x.tmp'): (run.path / name).write_text('{}')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == -9
    assert sorted(os.listdir("runs/pretrain")) == [".lock", ".tokenizer.json.x.tmp", "tokenizer.json"]
    with pytest.raises(ValueError, match="holds no run yet"), continued(RunFolder("runs/pretrain")):
        pass
    with claimed_by_name("pretrain") as run:
        assert str(run.path) == "runs/pretrain" and os.listdir(run.path) == [".lock"]
        begin(run)


def test_runs_that_begin_at_once_get_folders_of_their_own(here):
    with claimed_by_name("sft") as one, claimed_by_name("sft") as two, claimed_by_name("sft") as three:
        assert [run.path.name for run in (one, two, three)] == ["sft", "sft-2", "sft-3"]
        begin(three)
    assert os.listdir("runs") == ["sft-3"]
    with claimed_by_name("sft") as run:
        assert run.path.name == "sft"


def test_a_file_that_has_the_name_of_a_run_is_passed_over_and_kept(here):
    (here / "runs").mkdir()
    (here / "runs" / "sft").write_text("mine")
    with claimed_by_name("sft") as run:
        assert run.path.name == "sft-2"
    assert os.listdir("runs") == ["sft"] and (here / "runs" / "sft").read_text() == "mine"


def test_what_a_killed_run_had_half_written_is_swept_when_it_goes_on(here):
    run = RunFolder(here)
    begin(run)
    (here / "last").mkdir()
    for name in (".model.safetensors.abc.tmp", "last/.training.safetensors.abc.tmp"):
        (here / name).write_text("")
    FolderLock(here).file.write_text("")
    with continued(run):
        assert sorted(os.listdir(here)) == [".lock", "config.json", "last"] and os.listdir(here / "last") == []
    with pytest.raises(ValueError, match="holds no run"), continued(RunFolder(here / "last")):
        pass
    assert os.listdir(here / "last") == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stage": 1}, 'expected "stage" to be a text, found 1'),
        ({"model": []}, r'expected "model" to be an object, found \[\]'),
        ({"settings": "x"}, 'expected "settings" to be an object'),
        ({"base": {"run": 3}}, 'expected "run" to be a text, found 3'),
        ({"labels": {}}, 'expected "labels" to be a list'),
    ],
)
def test_a_field_of_the_wrong_kind_in_config_json_is_named(here, change, said):
    write_json(here / "config.json", {"stage": "x", "model": {}} | change)
    with pytest.raises(Damaged, match=f"config.json: {said}"):
        RunFolder(here).config()


@pytest.mark.parametrize("labels", [[], ["a"], ["a", "b", "c"], ["a", 2], None])
def test_labels_are_as_many_as_the_model_has_outputs(here, labels):
    write_json(here / "config.json", {"stage": "classify", "model": {"outputs": 2}, "labels": ["a", "b"]})
    assert RunFolder(here).labels() == ["a", "b"]
    write_json(here / "config.json", {"stage": "classify", "model": {"outputs": 2}, "labels": labels})
    with pytest.raises(Damaged, match='"labels" are not the names of the 2 classes'):
        RunFolder(here).labels()


def test_lines_that_are_no_lines_of_a_log_are_left_out_and_said(here):
    run = RunFolder(here)
    good = [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 1.5, "sample": "x"}, {"step": 3, "val_loss": None}]
    bad = [
        b"\0" * 40,
        b"{",
        b"[1]",
        b'{"loss": 1}',
        b'{"step": "3"}',
        b'{"step": 1, "loss": "x"}',
        b"\xff",
        b"[" * 99_999,
    ]
    lines = [json.dumps(record).encode() for record in good]
    run.log_file.write_bytes(b"\n".join([lines[0], *bad, *lines[1:]]) + b'\n{"step": 4, "lo')
    with pytest.warns(UserWarning, match=r"log\.jsonl:2: damaged; 8 of 11 lines are left out"):
        found = run.records()
    assert found[:2] == good[:2] and found[2]["step"] == 3 and math.isnan(found[2]["val_loss"])
    with pytest.warns(UserWarning):
        run.truncate_log(2)
    assert run.log_file.read_bytes() == lines[0] + b"\n" + lines[1] + b"\n"
    assert run.records() == good[:2]  # and no word


def checkpoint(path):
    """A run with a checkpoint after some steps, and what it was made of."""
    model = nn.Linear(3, 2)
    optimizer = build_optimizer(model, "adamw")
    for _ in range(2):
        model(torch.ones(3)).sum().backward()
        optimizer.step()
    run, history = RunFolder(path), History(step=2, best=1.5)
    run.log({"step": 1, "loss": 2.0})
    run.log({"step": 3, "loss": 2.0})
    run.save_training(model, optimizer, history, steps=9, scaler={}, batches={"epoch": 0, "position": 2})
    return run, model, optimizer


def restored(run):
    model, history = nn.Linear(3, 2), History()
    run.restore(run.load_training(), model, build_optimizer(model, "adamw"), history)
    return model, history


CHANGES = [
    lambda state: state.pop("history"),
    lambda state: state["history"].pop("step"),
    lambda state: state["history"].update(step="2"),
    lambda state: state["history"].update(tokens=None),
    lambda state: state.pop("optimizer"),
    lambda state: state["optimizer"].update(dict="x"),
    lambda state: state["optimizer"]["dict"][0][1].update(list=[]),
    lambda state: state.pop("random"),
    lambda state: state["random"]["dict"].pop(),
    lambda state: state["random"]["dict"][0][1].update(tensor="model.bias"),
    lambda state: state.update(steps="x"),
    lambda state: state["batches"].update(position="x"),
    lambda state: state.update(batches=None),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_checkpoint_that_lacks_something_is_named_and_the_log_stays_as_it_was(here, change):
    run, model, _ = checkpoint(here)
    again, history = restored(run)
    assert history.step == 2 and torch.equal(again.weight, model.weight)
    run.log({"step": 3, "loss": 2.0})
    log = run.log_file.read_bytes()
    tensors, metadata = load_file(run.last_file)
    state = json.loads(metadata["state"])
    change(state)
    save_file(tensors, run.last_file, {"state": json.dumps(state)})
    with pytest.raises(ValueError, match=r"training\.safetensors: "):
        restored(run)
    assert run.log_file.read_bytes() == log


def test_a_checkpoint_of_other_shapes_is_refused(here):
    run, _, _ = checkpoint(here)
    tensors, metadata = load_file(run.last_file)
    name = next(name for name, tensor in tensors.items() if name.startswith("optimizer") and tensor.shape == (2, 3))
    for changed in (tensors | {name: torch.zeros(3, 2)}, tensors | {"model.bias": torch.zeros(5)}, {}):
        save_file(changed, run.last_file, metadata)
        with pytest.raises(ValueError, match=r"training\.safetensors: "):
            restored(run)
    for wrong in ({}, {"state": "[" * 99_999}, {"state": "[]"}):
        save_file(tensors, run.last_file, wrong)
        with pytest.raises(ValueError, match=r"training\.safetensors: "):
            restored(run)
