"""The stages of train.py, one file each: a dataclass of settings and the function that runs it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from minillm.stages.evaluate import Evaluate, run_evaluate
from minillm.stages.pretrain import Bigram, Pretrain, run_bigram, run_pretrain
from minillm.stages.writing import Chat, Generate, run_chat, run_generate


class Stage(NamedTuple):
    """One sub-command."""

    summary: str
    settings: type
    function: Callable[[Any, dict], int | None]


STAGES = {
    "bigram": Stage("count pairs of tokens: the baseline", Bigram, run_bigram),
    "pretrain": Stage("train a decoder from scratch on text", Pretrain, run_pretrain),
    "generate": Stage("write texts with a trained model", Generate, run_generate),
    "chat": Stage("write with a model, turn by turn, at the keyboard", Chat, run_chat),
    "eval": Stage("score a trained model on text, exactly", Evaluate, run_evaluate),
}
