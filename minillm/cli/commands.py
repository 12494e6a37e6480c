"""The stages of train.py, one file each: a dataclass of settings and the function that runs it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from minillm.cli.dpo import DPO, run_dpo
from minillm.cli.evaluate import Evaluate, run_evaluate
from minillm.cli.merge import Merge, run_merge
from minillm.cli.mlm import MLM, run_mlm
from minillm.cli.ppo import PPOSettings, run_ppo
from minillm.cli.predict import Predict, run_predict
from minillm.cli.pretrain import Bigram, Pretrain, run_bigram, run_pretrain
from minillm.cli.reward import Reward, run_reward
from minillm.cli.sft import SFT, run_sft
from minillm.cli.tour import Tour, run_tour
from minillm.cli.understanding import Classify, Encode, Pair, Tag, run_classify, run_encode, run_pair, run_tag
from minillm.cli.writing import Chat, Generate, run_chat, run_generate


class Stage(NamedTuple):
    """One sub-command."""

    summary: str
    settings: type
    function: Callable[[Any, dict], int | None]


STAGES = {
    "bigram": Stage("count pairs of tokens: the baseline", Bigram, run_bigram),
    "pretrain": Stage("train a decoder from scratch on text", Pretrain, run_pretrain),
    "mlm": Stage("train an encoder from scratch on text, by restoring hidden words", MLM, run_mlm),
    "classify": Stage("sort texts into classes", Classify, run_classify),
    "pair": Stage("judge pairs of texts: entailment, next sentence, paraphrase", Pair, run_pair),
    "tag": Stage("tag the words of a text", Tag, run_tag),
    "encode": Stage("turn texts into vectors, like ones near each other", Encode, run_encode),
    "sft": Stage("teach a model to answer: instruction tuning", SFT, run_sft),
    "reward": Stage("learn which of two answers people prefer", Reward, run_reward),
    "ppo": Stage("let a model learn from a reward model", PPOSettings, run_ppo),
    "dpo": Stage("let a model learn from preferences, directly", DPO, run_dpo),
    "merge": Stage("fold a trained adapter into the weights of its base", Merge, run_merge),
    "predict": Stage("ask a trained classifier, tagger or encoder about new texts", Predict, run_predict),
    "generate": Stage("write texts with a trained model", Generate, run_generate),
    "chat": Stage("write with a model, turn by turn, at the keyboard", Chat, run_chat),
    "tour": Stage("the whole life of a model, stage by stage, and a page that tells it", Tour, run_tour),
    "eval": Stage("score a trained model on text, exactly", Evaluate, run_evaluate),
}
