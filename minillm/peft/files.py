"""An adapter in a folder: one file, adapter.safetensors, with what was learned and how to put it on a model again.

One, so that it is there or not: never the weights of one adapter beside the settings of another. Adapters of older
versions, whose settings stand in an adapter.json, are read too. Left out: the model that it belongs to. Whoever loads
an adapter brings the model that it was trained on.
"""

import dataclasses
import json
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from minillm.peft.adalora import AdaLoRA
from minillm.peft.adapter import Method, adapters
from minillm.peft.bitfit import BitFit
from minillm.peft.bottleneck import Bottleneck
from minillm.peft.ia3 import IA3
from minillm.peft.lora import LoRA
from minillm.peft.operations import adapter_state, inject, load_adapter_state, remove
from minillm.peft.prefix import LlamaAdapter, PrefixTuning
from minillm.peft.prompts import PTuning, SoftPrompt, simplify
from minillm.system import Damaged, load_file, read_object, reading, save_file, whole
from minillm.training import RunFolder, changing, unwrap

METHODS: dict[str, type[Method]] = {
    method.key: method
    for method in (LoRA, AdaLoRA, SoftPrompt, PrefixTuning, PTuning, IA3, LlamaAdapter, BitFit, Bottleneck)
}
ADAPTER_FILE, SETTINGS_KEY = "adapter.safetensors", "adapter"
OLD_SETTINGS = "adapter.json"  # where the settings were once


class AdapterRun(RunFolder):
    """The folder of a run that trains the adapter called `name`: it holds that alone, and not the model below it."""

    def __init__(self, path: str | os.PathLike, name: str):
        super().__init__(path)
        self.name = name

    def save_model(self, model: nn.Module) -> None:
        """Write the adapter, and what learns beside it."""
        save_adapter(unwrap(model), self.path, self.name)

    def to_keep(self, model: nn.Module) -> dict[str, Tensor]:
        """What `save_model` writes."""
        return {name: whole(tensor) for name, tensor in adapter_state(unwrap(model), self.name).items()}

    def to_resume(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        """What a checkpoint holds of a model: what changes; the rest is in the run that the adapter stands on."""
        return changing(model, optimizer)

    def check_best(self, model: nn.Module) -> None:
        """Raises: ValueError where `load_best` would; the networks of the model stay."""
        method, tensors = read_adapter(self.path)
        if method == adapters(model, self.name)[0][1].method:
            load_adapter_state(model, tensors, self.name, self.adapter_file)

    def load_best(self, model: nn.Module) -> None:
        """Give a model what `save_model` wrote of it."""
        method, tensors = read_adapter(self.path)
        if method != adapters(model, self.name)[0][1].method:
            simplify(model)  # so was what is in the file, by a run that was killed while it was being scored
        load_adapter_state(model, tensors, self.name, self.adapter_file)


def save_adapter(model: nn.Module, folder: str | os.PathLike, name: str | None = None) -> int:
    """Save the adapter called `name` (of one, the only one) in a folder.

    What learns beside it, such as a head, is saved with it; all of the model, if nobody has frozen it.

    Returns: the bytes of the file.
    Raises: ValueError as `adapter_state`, and for an adapter whose parts have settings of their own, as one of Hugging
        Face's may.
    """
    state = {key: whole(tensor) for key, tensor in adapter_state(model, name).items()}
    method, *others = dict.fromkeys(adapter.method for _, adapter in adapters(model, name))
    if others:
        raise ValueError("its parts have different settings, of which an adapter's file holds one: save it as peft")
    folder = Path(folder)
    settings = {"method": method.key, "settings": dataclasses.asdict(method)}
    save_file(state, folder / ADAPTER_FILE, {SETTINGS_KEY: json.dumps(settings)})
    (folder / OLD_SETTINGS).unlink(missing_ok=True)
    return adapter_bytes(folder)


def adapter_bytes(folder: str | os.PathLike) -> int:
    """The size of an adapter's file."""
    return (Path(folder) / ADAPTER_FILE).stat().st_size


def read_adapter(folder: str | os.PathLike) -> tuple[Method, dict[str, Tensor]]:
    """The method and the tensors of a saved adapter.

    Raises: ValueError for a folder without one, for settings that are not its, and for a damaged file.
    """
    path = Path(folder) / ADAPTER_FILE
    tensors, metadata = load_file(path)
    text = metadata.get(SETTINGS_KEY)
    path = Path(folder) / OLD_SETTINGS if text is None else path
    saved = read_object(path, text).check(method=str, settings=dict)
    with reading(path):
        if saved["method"] not in METHODS:
            raise Damaged(f"{path}: no method is called {saved['method']!r}: there are {', '.join(METHODS)}")
        settings = {key: tuple(v) if isinstance(v, list) else v for key, v in saved["settings"].items()}
        return METHODS[saved["method"]](**settings), tensors


def load_adapter(model: nn.Module, folder: str | os.PathLike, name: str = "default") -> nn.Module:
    """Put a saved adapter on the model that it was trained on, with what was saved beside it; returns the model.

    Raises: ValueError when the file is damaged or missing, and when the adapter does not belong on this model, which
        is then left as it was.
    """
    method, tensors = read_adapter(folder)
    file = Path(folder) / ADAPTER_FILE
    with reading(file), torch.random.fork_rng(devices=[]):  # the first values are overwritten
        model = inject(model, method, name)
    try:
        load_adapter_state(model, tensors, name, file)
    except ValueError:
        remove(model, name)
        raise
    return model
