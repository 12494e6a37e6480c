"""An adapter in a folder: adapter.safetensors, what was learned, and adapter.json, how to put it on a model again.

Left out: the model that it belongs to. Whoever loads an adapter brings the model that it was trained on.
"""

import dataclasses
import os
from pathlib import Path

import torch
from torch import nn

from minillm.peft.adalora import AdaLoRA
from minillm.peft.adapter import Method, adapters
from minillm.peft.bitfit import BitFit
from minillm.peft.bottleneck import Bottleneck
from minillm.peft.ia3 import IA3
from minillm.peft.lora import LoRA
from minillm.peft.operations import adapter_state, inject, load_adapter_state, remove
from minillm.peft.prefix import LlamaAdapter, PrefixTuning
from minillm.peft.prompts import PTuning, SoftPrompt, simplify
from minillm.system import load_file, read_json, save_file, write_json
from minillm.training import RunFolder, unwrap

METHODS: dict[str, type[Method]] = {
    method.key: method
    for method in (LoRA, AdaLoRA, SoftPrompt, PrefixTuning, PTuning, IA3, LlamaAdapter, BitFit, Bottleneck)
}
ADAPTER_TENSORS, ADAPTER_SETTINGS = "adapter.safetensors", "adapter.json"


class AdapterRun(RunFolder):
    """The folder of a run that trains the adapter called `name`: it holds that alone, and not the model below it."""

    def __init__(self, path: str | os.PathLike, name: str):
        super().__init__(path)
        self.name = name

    def save_model(self, model: nn.Module) -> None:
        """Write the adapter, and what learns beside it."""
        save_adapter(unwrap(model), self.path, self.name)

    def load_best(self, model: nn.Module) -> None:
        """Give a model what `save_model` wrote of it."""
        if load_method(self.path) != adapters(model, self.name)[0][1].method:
            simplify(model)  # so was what is in the file, by a run that was killed while it was being scored
        load_adapter_state(model, load_file(self.adapter_file)[0], self.name)


def save_adapter(model: nn.Module, folder: str | os.PathLike, name: str | None = None) -> int:
    """Save the adapter called `name` (of one, the only one) in a folder.

    What learns beside it, such as a head, is saved with it; all of the model, if nobody has frozen it.

    Returns: the bytes of both files.
    Raises: ValueError as `adapter_state`, and for an adapter whose parts have settings of their own, as one of Hugging
        Face's may.
    """
    state = adapter_state(model, name)
    method, *others = dict.fromkeys(adapter.method for _, adapter in adapters(model, name))
    if others:
        raise ValueError("its parts have different settings, of which an adapter's file holds one: save it as peft")
    folder = Path(folder)
    save_file(state, folder / ADAPTER_TENSORS)
    write_json(folder / ADAPTER_SETTINGS, {"method": method.key, "settings": dataclasses.asdict(method)})
    return adapter_bytes(folder)


def adapter_bytes(folder: str | os.PathLike) -> int:
    """The size of an adapter's files."""
    return sum((Path(folder) / name).stat().st_size for name in (ADAPTER_TENSORS, ADAPTER_SETTINGS))


def load_method(folder: str | os.PathLike) -> Method:
    """The method of a saved adapter; ValueError for a folder without one, and for settings that are not its."""
    path = Path(folder) / ADAPTER_SETTINGS
    saved = read_json(path)
    try:
        settings = {key: tuple(v) if isinstance(v, list) else v for key, v in saved["settings"].items()}
        return METHODS[saved["method"]](**settings)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: does not describe an adapter ({error})") from None


def load_adapter(model: nn.Module, folder: str | os.PathLike, name: str = "default") -> nn.Module:
    """Put a saved adapter on the model that it was trained on, with what was saved beside it; returns the model.

    Raises: ValueError when the files are damaged or missing, and when the adapter does not belong on this model, which
        is then left as it was.
    """
    method = load_method(folder)
    file = Path(folder) / ADAPTER_TENSORS
    tensors, _ = load_file(file)
    with torch.random.fork_rng(devices=[]):  # the first values are overwritten
        model = inject(model, method, name)
    try:
        load_adapter_state(model, tensors, name, file)
    except ValueError:
        remove(model, name)
        raise
    return model
