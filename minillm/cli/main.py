"""Which commands there are, and `main`: each has settings, and a function or a `TrainingCommand` that takes them."""

from collections.abc import Callable
from functools import partial

from minillm.cli.answer import AnswerSettings, run_answer
from minillm.cli.chat import ChatSettings, run_chat
from minillm.cli.classify import Classify, ClassifySettings
from minillm.cli.doctor import DoctorSettings, run_doctor
from minillm.cli.dpo import DPO, DPOSettings
from minillm.cli.encode import Encode, EncodeSettings
from minillm.cli.evaluate import EvaluateSettings, run_evaluate
from minillm.cli.export import ExportSettings, run_export
from minillm.cli.flags import Command, run_command
from minillm.cli.generate import GenerateSettings, run_generate
from minillm.cli.merge import MergeSettings, run_merge
from minillm.cli.mlm import MLM, MLMSettings
from minillm.cli.models import ModelsSettings, run_models
from minillm.cli.page import PageSettings, run_page
from minillm.cli.pair import Pair, PairSettings
from minillm.cli.ppo import RLHF, PPOSettings
from minillm.cli.predict import PredictSettings, run_predict
from minillm.cli.prepare import PrepareSettings, run_prepare
from minillm.cli.pretrain import Bigram, BigramSettings, Pretrain, PretrainSettings
from minillm.cli.reward import RewardSettings, RewardTask
from minillm.cli.sft import SFT, SFTSettings
from minillm.cli.tag import Tag, TagSettings
from minillm.cli.tour import TourSettings, run_tour


def _trains(summary: str, settings: type, kind: type) -> Command:
    return Command(summary, settings, kind.start, kind.__doc__, trains=True)


def _does(summary: str, settings: type, function: Callable, **more) -> Command:
    return Command(summary, settings, partial(function, **more), function.__doc__)


COMMANDS = {
    "prepare": _does("turn text of any size into shards of token ids", PrepareSettings, run_prepare),
    "bigram": _trains("count pairs of tokens: the baseline", BigramSettings, Bigram),
    "pretrain": _trains("train a decoder from scratch on text", PretrainSettings, Pretrain),
    "mlm": _trains("train an encoder from scratch on text, by restoring hidden words", MLMSettings, MLM),
    "classify": _trains("sort texts into classes", ClassifySettings, Classify),
    "pair": _trains("judge pairs of texts: entailment, next sentence, paraphrase", PairSettings, Pair),
    "tag": _trains("tag the words of a text", TagSettings, Tag),
    "encode": _trains("turn texts into vectors, like ones near each other", EncodeSettings, Encode),
    "sft": _trains("teach a model to answer: instruction tuning", SFTSettings, SFT),
    "reward": _trains("learn which of two answers people prefer", RewardSettings, RewardTask),
    "ppo": _trains("let a model learn from a reward model", PPOSettings, RLHF),
    "dpo": _trains("let a model learn from preferences, directly", DPOSettings, DPO),
    "merge": _does("fold a trained adapter into the weights of its base", MergeSettings, run_merge),
    "export": _does("write a run for transformers, peft or llama.cpp", ExportSettings, run_export),
    "predict": _does("ask a trained classifier, tagger or encoder about new texts", PredictSettings, run_predict),
    "generate": _does("generate texts with a trained model", GenerateSettings, run_generate),
    "chat": _does("talk to a model, turn by turn, at the keyboard", ChatSettings, run_chat),
    "answer": _does("answer questions from documents, and name the source", AnswerSettings, run_answer),
    "tour": _does("the whole life of a model, and a page about it", TourSettings, run_tour, start=lambda a: main(a)),
    "models": _does("train the models that the lessons stand on", ModelsSettings, run_models),
    "page": _does("turn a run into one HTML file: type, and see what the model sees", PageSettings, run_page),
    "doctor": _does("check this machine: does it compute rightly, and how fast?", DoctorSettings, run_doctor),
    "eval": _does("score a trained model on text, exactly", EvaluateSettings, run_evaluate),
}

main = partial(run_command, COMMANDS)
