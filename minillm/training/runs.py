"""The run folder: what a training run writes, and what the next stage, or the same run resumed, reads.

    config.json         the stage, the model's size, every setting
    tokenizer.json      the tokenizer that the model was trained with
    model.safetensors   the best weights
    last/               the checkpoint: everything needed to resume bit for bit, in one file that is replaced whole;
                        beside it the text as token ids, so that it is not tokenized again
    log.jsonl           a line per step and per evaluation
    metrics.json        the results; written last, so a folder without it holds an unfinished run

A run that trained an adapter has adapter.safetensors instead of model.safetensors, and names its base run in
config.json. Tensors and JSON only: nothing is pickled. A run has begun when there is a config.json. Who may write into
a folder, and what a killed run leaves behind: `claims`.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path

import torch
from torch import Tensor, nn

from minillm import __version__
from minillm.models import Head, RewardModel, TextEncoder, stated
from minillm.system import (
    Damaged,
    Fields,
    MappedFile,
    load_file,
    random_state,
    read_object,
    reading,
    save_file,
    set_random_state,
    spread,
    to_json,
    whole,
    write_atomic,
    write_json,
)
from minillm.training.states import flatten, load_optimizer, log_record, unflatten

RUNS = Path("runs")  # where runs are when nobody says
ANSWERING = ("sft", "ppo", "dpo")  # commands whose models answer, in the chat template
WITH_TENSORS = ("optimizer", "random", "generator")  # parts of a checkpoint that hold tensors among other things
CONFIG = {"stage": str, "model": dict, "settings": dict, "tokenizer": str, "data": str, "labels": list, "base": dict}
BASE = {"run": str, "weights": str, "adapter": str}
CHECKPOINT = {"history": dict, "steps": int, "scaler": dict, "batches": dict, "beta": float, "config": dict}


class RunFolder:
    """Reads and writes the files of one run."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.model_file = self.path / "model.safetensors"
        self.last_file = self.path / "last" / "training.safetensors"
        self.log_file = self.path / "log.jsonl"
        self.adapter_file = self.path / "adapter.safetensors"

    template: str | None = None  # a chat template to use in the place of its own (`hub.source`)

    @property
    def started(self) -> bool:
        """Whether a run has begun here."""
        return (self.path / "config.json").exists()

    @property
    def finished(self) -> bool:
        """Whether a run has ended here."""
        return (self.path / "metrics.json").exists()

    @property
    def answers(self) -> bool:
        """Whether its model was taught to answer, in the chat template."""
        return self.config()["stage"] in ANSWERING

    def save_config(self, **config) -> None:
        """Write config.json."""
        write_json(self.path / "config.json", {**config, "minillm": __version__, "torch": torch.__version__})

    def config(self) -> Fields:
        """Read config.json. Raises ValueError when this is no run folder, and for a field of another kind."""
        if not self.started:
            why = "there is no config.json in it" if self.path.is_dir() else "there is no such folder"
            raise ValueError(f"{self.path} holds no run: {why}")
        config = read_object(self.path / "config.json").check(**CONFIG)
        if config.get("base") is not None:
            config["base"].check(**BASE)
        return config

    def labels(self) -> list[str]:
        """The names of the classes; none of a head without classes. Raises ValueError unless each output has one."""
        config = self.config()
        names, outputs = config["labels"] or [], config["model"].get("outputs", 0)
        outputs = 0 if config["model"].get("kind") == RewardModel.__name__ else outputs
        if len(names) != outputs or not all(isinstance(name, str) for name in names):
            raise Damaged(f'{self.path / "config.json"}: "labels" are not the names of the {outputs} classes')
        return names

    def metrics(self) -> Fields:
        """Read metrics.json. Raises ValueError for a run that has not ended."""
        if not self.finished:
            raise ValueError(f"{self.path}: this run has not ended; there is no metrics.json in it")
        return read_object(self.path / "metrics.json")

    def save_model(self, model: nn.Module) -> None:
        """Write the weights, of the model itself and never of a compiled wrapper."""
        save_file(self.to_keep(model), self.model_file)

    def to_keep(self, model: nn.Module) -> dict[str, Tensor]:
        """What `save_model` writes."""
        return {name: whole(tensor) for name, tensor in unwrap(model).state_dict().items()}

    def load_best(self, model: nn.Module) -> None:
        """Load the weights that `save_model` wrote."""
        load_weights(model, load_file(self.model_file)[0], self.model_file)

    def check_best(self, model: nn.Module) -> None:
        """Raises: ValueError where `load_best` would, whatever becomes of the weights of `model`."""
        self.load_best(model)

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
        digest = hashlib.sha256()
        for piece in MappedFile(self.best_file()).pieces():
            digest.update(piece)
        return digest.hexdigest()

    def to_resume(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        """What a checkpoint holds of a model: all of it."""
        return model.state_dict()

    def save_training(self, model: nn.Module, optimizer: torch.optim.Optimizer, history, **more) -> None:
        """Write everything that resuming needs, the random generators too, in one file; `more` as plain JSON."""
        state = {"optimizer": optimizer.state_dict(), "random": random_state(), **more}
        state["history"] = {key: value for key, value in vars(history).items() if key != "records"}
        tensors = self.tensors_of(model, optimizer, state)
        save_file(tensors, self.last_file, {"state": json.dumps(state)})

    def tensors_of(self, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict) -> dict[str, Tensor]:
        """The tensors of a checkpoint by name, whole; in `state` names stand in their place."""
        tensors = {f"model.{name}": tensor for name, tensor in self.to_resume(unwrap(model), optimizer).items()}
        state |= {key: flatten(key, state[key], tensors) for key in WITH_TENSORS if key in state}
        return {name: whole(tensor) for name, tensor in tensors.items()}

    def load_training(self) -> dict:
        """What `save_training` wrote, by name. Raises ValueError when there is nothing to resume."""
        if not self.last_file.exists():
            missing = self.last_file.relative_to(self.path)
            raise ValueError(f"{self.path} holds nothing to resume: there is no {missing}")
        tensors, metadata = load_file(self.last_file)
        with reading(self.last_file):
            state = read_object(self.last_file, metadata["state"]).check(**CHECKPOINT)
            if None in state.values():
                raise ValueError("a part of the state is null")
            for key in WITH_TENSORS:
                if key in state:
                    state[key] = unflatten(state[key], tensors)
            own = {name: tensor for name, tensor in tensors.items() if name.startswith("model.")}
            state["model"] = {name.removeprefix("model."): tensor for name, tensor in own.items()}
        if isinstance(state.get("batches"), Fields):
            state["batches"].check(epoch=int, position=int)
        return state

    def restore(self, state: Fields, model: nn.Module, optimizer: torch.optim.Optimizer, history) -> None:
        """Let all go on from a state of `load_training`, random generators and log too."""
        kinds = {key: type(value) for key, value in vars(history).items() if key != "records"}
        with reading(self.last_file):
            state["history"].check(**kinds)
            totals = {key: kind(state["history"][key]) for key, kind in kinds.items()}
        if totals["best_step"]:
            self.check_best(unwrap(model))  # now, and not when all the steps are done
        frozen = unwrap(model).state_dict().keys() - self.to_resume(unwrap(model), optimizer).keys()
        load_weights(unwrap(model), state["model"], self.last_file, there=frozen)
        with reading(self.last_file):
            load_optimizer(optimizer, state["optimizer"])
            set_random_state(state["random"])
        self.truncate_log(totals["step"])
        vars(history).update(totals, records=self.records())
        history.stopped = "" if history.stopped == "interrupted" else history.stopped  # early stopping stays so

    def log(self, record: dict) -> None:
        """Add a line to log.jsonl."""
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.log_file, "a", encoding="utf-8") as file:
            file.write(to_json(record) + "\n")

    def truncate_log(self, step: int) -> None:
        """Drop what was logged after `step`, and lines that are none, as a kill may leave them."""
        lines = [to_json(record).encode() + b"\n" for record in self.records() if record["step"] <= step]
        write_atomic(self.log_file, lines)

    def records(self) -> list[dict]:
        """The lines of log.jsonl; but for the last, which may be cut short, a line that is none is warned of."""
        if not self.log_file.exists():
            return []
        found, bad = [], []
        lines = self.log_file.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            record = log_record(line)
            if record is not None:
                found.append(record)
            elif number < len(lines):
                bad.append(number)
        if bad:
            first = f"{self.log_file}:{bad[0]}: damaged"
            warnings.warn(f"{first}; {len(bad)} of {len(lines) - 1} lines are left out", stacklevel=2)
        return found


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
        kind |= {} if model.head.bias is not None else {"bias": False}
        return {**kind, "outputs": model.outputs, "pooling": model.pooling, "trunk": describe(model.trunk)}
    return {**kind, **stated(model.config)}


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
    return run.answers


@torch.no_grad()
def load_weights(
    model: nn.Module,
    tensors: dict[str, Tensor],
    source: str | os.PathLike,
    after: Callable = lambda: None,
    there: AbstractSet[str] = frozenset(),
) -> None:
    """Load tensors into a model, strictly; `after` is called after each. there: names that need not be among them.

    Raises: ValueError that names the first names or shapes that differ.
    """
    own = model.state_dict()
    missing, extra = own.keys() - tensors.keys() - there, tensors.keys() - own.keys()
    if missing or extra:
        raise ValueError(
            f"{source}: not the weights of this model; missing {sorted(missing)[:3]}, unknown {sorted(extra)[:3]}"
        )
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise ValueError(f"{source}: {name} is {list(tensor.shape)} where the model has {list(own[name].shape)}")
    for name, tensor in tensors.items():
        own[name].copy_(spread(tensor, own[name]))
        after()
