"""The run folder: what a training run writes, and what the next stage, or the same run resumed, reads.

    config.json         the stage, the model's size, every setting
    tokenizer.json      the tokenizer that the model was trained with
    model.safetensors   the best weights
    last/               the checkpoint: everything needed to resume bit for bit, in one file that is replaced whole
    log.jsonl           a line per step and per evaluation
    metrics.json        the results; written last, so a folder without it holds an unfinished run

A run that trained an adapter has adapter.safetensors and adapter.json instead of model.safetensors, and names its
base run in config.json.

Tensors and JSON only: nothing is pickled.
"""

import hashlib
import json
import math
import os
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from minillm import __version__
from minillm.models import Head, TextEncoder
from minillm.system import (
    load_file,
    random_state,
    read_json,
    save_file,
    set_random_state,
    to_json,
    write_atomic,
    write_json,
)  # fmt: skip

RUNS = Path("runs")  # where runs are when nobody says
ANSWERING = ("sft", "ppo", "dpo")  # commands whose models answer, in the chat template
WITH_TENSORS = ("optimizer", "random", "generator")  # parts of a checkpoint that hold tensors among other things


class RunFolder:
    """Reads and writes the files of one run."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.model_file = self.path / "model.safetensors"
        self.last_file = self.path / "last" / "training.safetensors"
        self.log_file = self.path / "log.jsonl"
        self.adapter_file = self.path / "adapter.safetensors"

    @property
    def started(self) -> bool:
        """Whether a run has begun here."""
        return (self.path / "config.json").exists()

    @property
    def finished(self) -> bool:
        """Whether a run has ended here."""
        return (self.path / "metrics.json").exists()

    def save_config(self, **config) -> None:
        """Write config.json."""
        write_json(self.path / "config.json", {**config, "minillm": __version__, "torch": torch.__version__})

    def config(self) -> dict:
        """Read config.json. Raises ValueError when this is no run folder."""
        if not self.started:
            why = "there is no config.json in it" if self.path.is_dir() else "there is no such folder"
            raise ValueError(f"{self.path} holds no run: {why}")
        return read_json(self.path / "config.json")

    def metrics(self) -> dict:
        """Read metrics.json. Raises ValueError for a run that has not ended."""
        if not self.finished:
            raise ValueError(f"{self.path}: this run has not ended; there is no metrics.json in it")
        return read_json(self.path / "metrics.json")

    def save_model(self, model: nn.Module) -> None:
        """Write the weights, of the model itself and never of a compiled wrapper."""
        save_file(unwrap(model).state_dict(), self.model_file)

    def load_best(self, model: nn.Module) -> None:
        """Load the weights that `save_model` wrote."""
        model.load_state_dict(load_file(self.model_file)[0])

    @property
    def holds_model(self) -> bool:
        """Whether there are weights, or an adapter, already."""
        return self.model_file.exists() or self.adapter_file.exists()

    def best_file(self) -> Path:
        """Where the best weights are, or the best adapter. Raises ValueError when there are none yet."""
        file = self.adapter_file if self.adapter_file.exists() else self.model_file
        if not file.exists():
            raise ValueError(f"{self.path} holds no model yet: its run was stopped before the first evaluation")
        return file

    def fingerprint(self) -> str:
        """A checksum of the best weights, by which an adapter recognises its base."""
        return hashlib.sha256(self.best_file().read_bytes()).hexdigest()

    def save_training(self, model: nn.Module, optimizer: torch.optim.Optimizer, history, **more) -> None:
        """Write everything that resuming needs, the random generators too, in one file; `more` as plain JSON."""
        tensors = {f"model.{name}": tensor for name, tensor in unwrap(model).state_dict().items()}
        state = {"optimizer": optimizer.state_dict(), "random": random_state(), **more}
        state |= {key: flatten(key, state[key], tensors) for key in WITH_TENSORS if key in state}
        state["history"] = {key: value for key, value in vars(history).items() if key != "records"}
        save_file(tensors, self.last_file, {"state": json.dumps(state)})

    def load_training(self) -> dict:
        """What `save_training` wrote, by name. Raises ValueError when there is nothing to resume."""
        if not self.last_file.exists():
            missing = self.last_file.relative_to(self.path)
            raise ValueError(f"{self.path} holds nothing to resume: there is no {missing}")
        tensors, metadata = load_file(self.last_file)
        state = json.loads(metadata["state"])
        state |= {key: unflatten(state[key], tensors) for key in WITH_TENSORS if key in state}
        model = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
        return state | {"model": model}

    def restore(self, state: dict, model: nn.Module, optimizer: torch.optim.Optimizer, history) -> None:
        """Let all go on from a state of `load_training`, random generators and log too."""
        load_weights(unwrap(model), state["model"], self.last_file)
        optimizer.load_state_dict(state["optimizer"])
        self.truncate_log(state["history"]["step"])
        vars(history).update(state["history"], records=self.records())
        history.stopped = "" if history.stopped == "interrupted" else history.stopped  # early stopping stays so
        set_random_state(state["random"])

    def log(self, record: dict) -> None:
        """Add a line to log.jsonl."""
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.log_file, "a", encoding="utf-8") as file:
            file.write(to_json(record) + "\n")

    def truncate_log(self, step: int) -> None:
        """Drop what was logged after `step`, and a line that a kill cut short."""
        write_atomic(self.log_file, (to_json(r).encode() + b"\n" for r in self.records() if r["step"] <= step))

    def records(self) -> list[dict]:
        """The whole lines of log.jsonl; null, which stands for what is no number, is NaN again."""
        if not self.log_file.exists():
            return []
        lines = self.log_file.read_text(encoding="utf-8").split("\n")[:-1]
        rows = [json.loads(line) for line in lines]
        return [{key: math.nan if value is None else value for key, value in row.items()} for row in rows]


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside torch.compile's or a distributed wrapper, whose parameter names are the plain ones."""
    while hasattr(model, "_orig_mod") or hasattr(model, "module"):
        model = getattr(model, "_orig_mod", None) or model.module
    return model


def describe(model: nn.Module) -> dict:
    """What config.json says of a model, enough to build it again; of a head, with the trunk that it stands on."""
    model = unwrap(model)
    while hasattr(model, "base"):  # an adapter around all of it
        model = model.base
    kind = {"kind": type(model).__name__}
    if isinstance(model, TextEncoder):
        return {**kind, "pooling": model.pooling, "trunk": describe(model.trunk)}
    if isinstance(model, Head):
        return {**kind, "outputs": model.outputs, "pooling": model.pooling, "trunk": describe(model.trunk)}
    return {**kind, **asdict(model.config)}


def latest_run(*names: str, whole: bool = True, flag: str = "--from") -> RunFolder:
    """The newest run in runs/ of the first of these stages that has one, by what its config.json says.

    Args:
        names: commands, or "letters": sft on letters
        whole: one that holds a model already; else of a command, letters too
        flag: by which a person could name one
    Raises: ValueError when there is none.
    """
    found = sorted(RUNS.glob("*/config.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    runs = [RunFolder(path.parent) for path in found]
    for name in names:
        for run in runs:
            if (run.holds_model and stage_of(run) == name) if whole else stage_of(run, letters="sft") == name:
                return run
    how = "sft --task letters" if names[0] == "letters" else names[0]
    raise ValueError(
        f"there is no run of {' or '.join(names)} in {RUNS.resolve()}: make one with the command `{how}`, or name one "
        f"by {flag}"
    )


def named_or_latest(path: Path | None, *names: str, flag: str = "--from") -> RunFolder:
    """The run that a flag names, or the newest as `latest_run` finds it."""
    return RunFolder(path) if path else latest_run(*names, flag=flag)


def stage_of(run: RunFolder, letters: str = "letters") -> str:
    """The command that made a run, by its config.json; of sft on letters, `letters`; "" where that is unreadable."""
    try:
        config = run.config()
        of_letters = config["stage"] == "sft" and config["settings"].get("task") == "letters"
        return letters if of_letters and not config["settings"].get("data") else config["stage"]
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return ""


def knows_template(run: RunFolder) -> bool:
    """Whether the model of a run was taught to answer, in the chat template."""
    return run.config()["stage"] in ANSWERING


def load_weights(model: nn.Module, tensors: dict[str, Tensor], source: str | os.PathLike) -> None:
    """Load tensors into a model, strictly. Raises ValueError that names the first names or shapes that differ."""
    own = model.state_dict()
    missing, extra = own.keys() - tensors.keys(), tensors.keys() - own.keys()
    if missing or extra:
        raise ValueError(
            f"{source}: not the weights of this model; missing {sorted(missing)[:3]}, unknown {sorted(extra)[:3]}"
        )
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise ValueError(f"{source}: {name} is {list(tensor.shape)} where the model has {list(own[name].shape)}")
    model.load_state_dict(tensors)


def flatten(prefix: str, value, tensors: dict[str, Tensor]):
    """Move every tensor inside nested dictionaries and lists into `tensors`; a name stands in its place."""
    if isinstance(value, Tensor):
        tensors[prefix] = value
        return {"tensor": prefix}
    if isinstance(value, dict):  # a list of pairs, since JSON would turn numbers that are keys into strings
        return {"dict": [[key, flatten(f"{prefix}.{key}", item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [flatten(f"{prefix}.{index}", item, tensors) for index, item in enumerate(value)]}
    return value


def unflatten(value, tensors: dict[str, Tensor]):
    """Undo `flatten`."""
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "dict" in value:
        return {key: unflatten(item, tensors) for key, item in value["dict"]}
    return [unflatten(item, tensors) for item in value["list"]]
