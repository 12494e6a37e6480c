"""What a command begins with: a run of ours, or a model that others made, which answers the same questions."""

import os
from functools import cached_property
from pathlib import Path

import torch

from minillm.hub.load import load_tokenizer
from minillm.hub.pretrained import is_foreign
from minillm.system import Fields
from minillm.text import Tokenizer
from minillm.training import RunFolder


class Foreign(RunFolder):
    """A model that others made, as a place to begin with: nothing is written there."""

    started, finished, holds_model = True, False, True

    def config(self) -> Fields:
        """What config.json of a run would say."""
        return Fields({"stage": "hub", "settings": {"data": str(self.path)}, "model": {}}, self.path)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer."""
        return load_tokenizer(self)

    @property
    def answers(self) -> bool:
        """Whether it was taught to answer, in a chat template that we know."""
        return self.tokenizer.template is not None


def source(path: str | os.PathLike, template: str | None = None) -> RunFolder:
    """The run, or the model of others, in a place; where there is neither, a folder that complains when it is asked.

    Args: template: the chat template to use, one of TEMPLATE_NAMES, in the place of its own.
    """
    found = Foreign(path) if is_foreign(path) else RunFolder(path)
    found.template = template
    return found


def dtype_of_others(run: RunFolder, dtype: torch.dtype | None) -> torch.dtype | None:
    """`dtype` for a model that others made, and for an adapter on one; None for what is ours, which is fp32."""
    seen = set()
    while not isinstance(run, Foreign):
        base = run.config().get("base")
        if not base or run.path in seen:
            return None
        seen.add(run.path)
        run = source(Path(os.path.normpath(run.path.resolve() / base["run"])))
    return dtype
