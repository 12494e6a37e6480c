"""What a command begins with: a run of ours, or a model that others made, which answers the same questions."""

import os
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from minillm.hub.load import load_tokenizer
from minillm.hub.pretrained import foreign_labels, is_foreign
from minillm.models import (
    PairClassifier,
    PooledClassifier,
    RewardModel,
    SequenceClassifier,
    TextEncoder,
    TokenClassifier,
)
from minillm.peft import bare
from minillm.system import Fields, read_object
from minillm.text import Tokenizer
from minillm.training import RunFolder

STAGES = {  # the commands that train such a model
    SequenceClassifier: "classify",
    PooledClassifier: "classify",
    PairClassifier: "pair",
    TokenClassifier: "tag",
    TextEncoder: "encode",
    RewardModel: "reward",
}
USUAL_LENGTH = 256  # tokens that a model reads which could read any number of them


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
        base = run.config().get("base") if run.started else None  # a base that is gone is missed when it is loaded
        if not base or run.path in seen:
            return None
        seen.add(run.path)
        run = source(Path(os.path.normpath(run.path.resolve() / base["run"])))
    return dtype


def stage_of(run: RunFolder, model: nn.Module) -> str:
    """The command that trains such a model, as config.json says, or, of what others made, by its head; "hub": none."""
    stage = run.config().get("stage")
    return STAGES.get(type(bare(model)), stage) if isinstance(run, Foreign) else stage


def holds_head(run: RunFolder) -> bool:
    """Whether a model sorts, tags, compares or scores texts, as far as its files say without its weights."""
    if not isinstance(run, Foreign):
        return run.config().get("stage") in STAGES.values()
    return bool(foreign_labels(run.path)) or (run.path / "modules.json").is_file()


def reading_length(run: RunFolder | None, trunk: nn.Module) -> int:
    """How many tokens of a text a model reads: what its config or, of sentence-transformers, a file of its own says."""
    longest = getattr(trunk.config, "context", USUAL_LENGTH)
    file = None if run is None else run.path / "sentence_bert_config.json"
    if not isinstance(run, Foreign) or not file.is_file():
        return longest
    return min(longest, read_object(file).check(max_seq_length=int).get("max_seq_length") or longest)
