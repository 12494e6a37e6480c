"""What a command begins with: a run of ours, or a model that others made, which answers the same questions.

`source` says which of them is in a place: a folder in Hugging Face's format has a config.json with a model_type; a GGUF
file is a file.
"""

import hashlib
import os
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from minillm.hub.huggingface import load_pretrained
from minillm.system import Fields, read_json
from minillm.text import Tokenizer
from minillm.training import RunFolder

PIECE = 1 << 20  # bytes that are read at once


class Foreign(RunFolder):
    """A model that others made, as a place to begin with: nothing is written there."""

    started, finished, holds_model = True, False, True

    def config(self) -> Fields:
        """What config.json of a run would say."""
        return Fields({"stage": "hub", "settings": {"data": str(self.path)}, "model": {}}, self.path)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer."""
        return Tokenizer.load(self.path / "tokenizer.json")

    @property
    def answers(self) -> bool:
        """Whether it was taught to answer, in a chat template that we know."""
        return getattr(self.tokenizer, "template", None) is not None

    def model(self, dtype: torch.dtype | None = None) -> nn.Module:
        """The model, with weights of this dtype, in evaluation mode."""
        if not self.path.is_dir():
            raise ValueError(f"{self.path}: GGUF files are not loaded yet")
        return load_pretrained(self.path, dtype)[0]

    def best_file(self) -> Path:
        """The file with its weights, or the first of several."""
        return self._files()[0]

    def _files(self) -> list[Path]:
        found = [self.path] if self.path.is_file() else sorted(self.path.glob("*.safetensors"))
        if not found:
            raise ValueError(f"{self.path} holds no weights: there is no .safetensors file in it")
        return found

    def fingerprint(self) -> str:
        """A checksum of its weights, by which an adapter recognises its base."""
        digest = hashlib.sha256()
        for path in self._files():
            with open(path, "rb") as file:
                while piece := file.read(PIECE):
                    digest.update(piece)
        return digest.hexdigest()


def source(path: str | os.PathLike) -> RunFolder:
    """The run, or the model of others, in a place; where there is neither, a folder that complains when it is asked."""
    config = Path(path) / "config.json"
    if Path(path).is_file():
        return Foreign(path)
    try:
        said = read_json(config) if config.exists() else {}
    except ValueError:
        said = {}
    foreign = isinstance(said, dict) and "model_type" in said and "stage" not in said
    return Foreign(path) if foreign else RunFolder(path)
