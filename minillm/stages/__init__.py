"""The stages of train.py, one file each: a dataclass of settings and the function that runs it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from minillm.stages.evaluate import Evaluate, evaluate
from minillm.stages.pretrain import Bigram, Pretrain, bigram, pretrain
from minillm.stages.writing import Chat, Generate, chat, generate


class Stage(NamedTuple):
    """One sub-command."""

    summary: str
    settings: type
    function: Callable[[Any, dict], int | None]


STAGES = {
    "bigram": Stage("count pairs of tokens: the baseline", Bigram, bigram),
    "pretrain": Stage("train a decoder from scratch on text", Pretrain, pretrain),
    "generate": Stage("write texts with a trained model", Generate, generate),
    "chat": Stage("write with a model, turn by turn, at the keyboard", Chat, chat),
    "eval": Stage("score a trained model on text, exactly", Evaluate, evaluate),
}
