"""The run folder: what a training run leaves behind, and how the next stage, or the same one resumed, picks it up.

    config.json         the stage, the model's size, every setting
    tokenizer.json      the tokenizer that the model was trained with
    model.safetensors   the best weights
    last/               everything needed to go on, bit for bit, in one file that is replaced whole
    log.jsonl           a line per step and per evaluation
    metrics.json        the results; written last, so a folder without it holds an unfinished run

A run that trained an adapter has adapter.safetensors and adapter.json in the place of model.safetensors, and says in
config.json on which run they stand.

Tensors and JSON only: nothing is pickled.
"""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from minillm import __version__
from minillm.bigram import BigramLM
from minillm.files import read_json, write_atomic, write_json
from minillm.heads import Head, PairClassifier, RewardModel, SequenceClassifier, TextEncoder, TokenClassifier
from minillm.lstm import LSTMLM, LSTMConfig
from minillm.peft.adapter import adapters, bare
from minillm.peft.files import TENSORS, load_adapter, load_method, save_adapter
from minillm.peft.prompts import simplify
from minillm.peft.verbs import load_adapter_state
from minillm.safetensors import load_file, save_file
from minillm.transformer import Decoder, Encoder, ModelConfig

BUILDERS = {
    Decoder: lambda **config: Decoder(ModelConfig(**config)),
    Encoder: lambda **config: Encoder(ModelConfig(**config)),
    LSTMLM: lambda **config: LSTMLM(LSTMConfig(**config)),
    BigramLM: BigramLM,
    **{head: head for head in (SequenceClassifier, PairClassifier, TokenClassifier, TextEncoder, RewardModel)},
}
KINDS = {cls.__name__: cls for cls in BUILDERS}


class RunFolder:
    """Reads and writes the files of one run."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.model_file = self.path / "model.safetensors"
        self.last_file = self.path / "last" / "training.safetensors"
        self.log_file = self.path / "log.jsonl"
        self.adapter = ""  # the name of the adapter that this run trains, if it trains one

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
        """Write the weights (of the model itself, never of a compiled wrapper), or the adapter alone."""
        if self.adapter:
            save_adapter(unwrap(model), self.path, self.adapter)
        else:
            save_file(unwrap(model).state_dict(), self.model_file)

    def load_best(self, model: nn.Module) -> None:
        """Give a model what `save_model` wrote of it."""
        if self.adapter:
            if load_method(self.path) != adapters(model, self.adapter)[0][1].method:
                simplify(model)  # so was what is in the file, by a run that was killed while it was being scored
            load_adapter_state(model, load_file(self.path / TENSORS)[0], self.adapter)
        else:
            model.load_state_dict(load_file(self.model_file)[0])

    @property
    def holds_model(self) -> bool:
        """Whether there are weights, or an adapter, already."""
        return self.model_file.exists() or (self.path / TENSORS).exists()

    def best_file(self) -> Path:
        """Where the best weights are, or the best adapter. Raises ValueError when there are none yet."""
        file = self.path / TENSORS if (self.path / TENSORS).exists() else self.model_file
        if not file.exists():
            raise ValueError(f"{self.path} holds no model yet: its run was stopped before the first evaluation")
        return file

    def fingerprint(self) -> str:
        """A checksum of the best weights, by which an adapter knows its base."""
        return hashlib.sha256(self.best_file().read_bytes()).hexdigest()

    def save_training(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Write everything that resuming needs, in one file."""
        save_file(tensors, self.last_file, {"state": json.dumps(state)})

    def load_training(self) -> tuple[dict[str, Tensor], dict]:
        """Read what `save_training` wrote. Raises ValueError when there is nothing to resume."""
        if not self.last_file.exists():
            raise ValueError(
                f"{self.path} holds nothing to resume: there is no {self.last_file.relative_to(self.path)}"
            )
        tensors, metadata = load_file(self.last_file)
        return tensors, json.loads(metadata["state"])

    def log(self, record: dict) -> None:
        """Add a line to log.jsonl."""
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.log_file, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def truncate_log(self, step: int) -> None:
        """Drop what was logged after `step`, and a line that a kill cut short."""
        write_atomic(self.log_file, (json.dumps(r).encode() + b"\n" for r in self.records() if r["step"] <= step))

    def records(self) -> list[dict]:
        """The whole lines of log.jsonl."""
        if not self.log_file.exists():
            return []
        lines = self.log_file.read_text(encoding="utf-8").split("\n")[:-1]
        return [json.loads(line) for line in lines]


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside torch.compile's or a distributed wrapper, whose parameter names are the plain ones."""
    while hasattr(model, "_orig_mod") or hasattr(model, "module"):
        model = getattr(model, "_orig_mod", None) or model.module
    return model


def describe(model: nn.Module) -> dict:
    """What config.json says of a model, enough to build it again; of a head, with the trunk that it stands on."""
    model = bare(unwrap(model))
    kind = {"kind": type(model).__name__}
    if isinstance(model, TextEncoder):
        return {**kind, "pooling": model.pooling, "trunk": describe(model.trunk)}
    if isinstance(model, Head):
        return {**kind, "outputs": model.outputs, "pooling": model.pooling, "trunk": describe(model.trunk)}
    return {**kind, **asdict(model.config)}


def rebuild(description: dict) -> nn.Module:
    """An untrained model from what `describe` said of one. Raises KeyError or TypeError when it said something else."""
    settings = dict(description)
    if "trunk" in settings:
        settings["trunk"] = rebuild(settings["trunk"])
    return BUILDERS[KINDS[settings.pop("kind")]](**settings)


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


def load_model(run: str | os.PathLike, device: str | torch.device = "cpu") -> nn.Module:
    """The best model of a run folder, in evaluation mode; with the adapter on it, where the run trained one.

    Raises ValueError for a folder that is no whole run, and for an adapter whose base is gone or was trained anew.
    """
    folder = RunFolder(run)
    config = folder.config()
    try:
        model = rebuild(config["model"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder.path / 'config.json'}: does not describe a model ({error})") from None
    if config.get("base"):
        model = load_adapter(on_base(folder, model, config["base"]), folder.path, config["base"]["adapter"])
    else:
        load_weights(model, load_file(folder.best_file())[0], folder.model_file)
    return model.to(device).eval()


def base_of(run: RunFolder, folder: RunFolder, adapter: str) -> dict:
    """What config.json says of the run that an adapter stands on: its place as seen from `folder`, its weights."""
    place = os.path.relpath(run.path.resolve(), folder.path.resolve())
    return {"run": place, "weights": run.fingerprint(), "adapter": adapter}


def on_base(folder: RunFolder, model: nn.Module, base: dict) -> nn.Module:
    """The model that an adapter was trained on: that of another run, or a head on its trunk."""
    run = RunFolder(os.path.normpath(folder.path.resolve() / base["run"]))
    if not run.started:
        raise ValueError(f"{folder.path} holds an adapter for the model of {run.path}, which is gone: bring it back")
    if run.fingerprint() != base["weights"]:
        raise ValueError(
            f"{folder.path} holds an adapter for the model that was in {run.path}, which has been trained anew since: "
            "train the adapter anew, too"
        )
    trained = load_model(run.path)
    trained = getattr(trained, "trunk", trained)
    if not hasattr(model, "trunk"):
        return trained
    model.trunk = trained
    return model


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


def unflatten(prefix: str, value, tensors: dict[str, Tensor]):
    """Undo `flatten`."""
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "dict" in value:
        return {key: unflatten(prefix, item, tensors) for key, item in value["dict"]}
    return [unflatten(prefix, item, tensors) for item in value["list"]]
