"""The command line: `python train.py COMMAND --flag value`.

A command is a dataclass of settings, from which its flags are made, and what takes them: a function, or a
`TrainingCommand`. What a person got wrong comes back as one sentence and exit status 2, what they interrupted as 130;
`--debug` shows where in the code it happened.
"""

import argparse
import errno
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch

from minillm import __version__
from minillm.cli.chat import ChatSettings, run_chat
from minillm.cli.classify import Classify, ClassifySettings
from minillm.cli.dpo import DPO, DPOSettings
from minillm.cli.encode import Encode, EncodeSettings
from minillm.cli.evaluate import EvaluateSettings, run_evaluate
from minillm.cli.flags import add_flags, build, program
from minillm.cli.generate import GenerateSettings, run_generate
from minillm.cli.merge import MergeSettings, run_merge
from minillm.cli.mlm import MLM, MLMSettings
from minillm.cli.pair import Pair, PairSettings
from minillm.cli.ppo import RLHF, PPOSettings
from minillm.cli.predict import PredictSettings, run_predict
from minillm.cli.pretrain import Bigram, BigramSettings, Pretrain, PretrainSettings
from minillm.cli.reward import Reward, RewardSettings
from minillm.cli.sft import SFT, SFTSettings
from minillm.cli.tag import Tag, TagSettings
from minillm.cli.tour import TourSettings, run_tour
from minillm.system import check_seed


class Command(NamedTuple):
    """One command: what it does in a few words, its settings, and what takes them and the flags that were typed."""

    summary: str
    settings: type
    start: Callable[[Any, dict], int | None]
    help: str | None


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns: the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version")):
        arguments = ["pretrain", *arguments]
    given = vars(build_parser().parse_args(arguments))
    command, debug = COMMANDS[given.pop("command")], given.pop("debug", bool(os.environ.get("MINILLM_DEBUG")))
    try:
        check_seed(given.get("seed", 0))
        return command.start(build(command.settings, given), given) or 0
    except (KeyboardInterrupt, Exception) as error:
        if debug:
            traceback.print_exc()
        message, status = explain(error)
        print(f"{program().split()[-1]}: {message}", file=sys.stderr)
        return status


def explain(error: BaseException) -> tuple[str, int]:
    """One sentence about what went wrong, and the exit status."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    if isinstance(error, torch.OutOfMemoryError):
        first = str(error).strip().split("\n")[0]
        return f"out of memory ({first}); choose a smaller --batch-size, --context or --depth", 2
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full ({error}); make room, then go on with --resume", 2
    if isinstance(error, OSError | ValueError | FloatingPointError):
        return str(error), 2
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"an error that minillm did not expect ({said}): --debug, or MINILLM_DEBUG=1, shows where", 1


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog=program(),
        description="Train a language model and use it. Without a command: pretrain, on the tales that come with it.",
        epilog=f"{program()} COMMAND --help shows every flag of a command.",
    )
    parser.add_argument("--version", action="version", version=f"minillm {__version__}, torch {torch.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=command.summary,
            description=(command.help or "").replace("python train.py", program()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_flags(sub, command.settings)
        help = "show the traceback of an error (also: MINILLM_DEBUG=1)"
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=help)
    return parser


def _trains(summary: str, settings: type, kind: type) -> Command:
    return Command(summary, settings, kind.start, kind.__doc__)


def _does(summary: str, settings: type, function: Callable, **more) -> Command:
    return Command(summary, settings, partial(function, **more), function.__doc__)


COMMANDS = {
    "bigram": _trains("count pairs of tokens: the baseline", BigramSettings, Bigram),
    "pretrain": _trains("train a decoder from scratch on text", PretrainSettings, Pretrain),
    "mlm": _trains("train an encoder from scratch on text, by restoring hidden words", MLMSettings, MLM),
    "classify": _trains("sort texts into classes", ClassifySettings, Classify),
    "pair": _trains("judge pairs of texts: entailment, next sentence, paraphrase", PairSettings, Pair),
    "tag": _trains("tag the words of a text", TagSettings, Tag),
    "encode": _trains("turn texts into vectors, like ones near each other", EncodeSettings, Encode),
    "sft": _trains("teach a model to answer: instruction tuning", SFTSettings, SFT),
    "reward": _trains("learn which of two answers people prefer", RewardSettings, Reward),
    "ppo": _trains("let a model learn from a reward model", PPOSettings, RLHF),
    "dpo": _trains("let a model learn from preferences, directly", DPOSettings, DPO),
    "merge": _does("fold a trained adapter into the weights of its base", MergeSettings, run_merge),
    "predict": _does("ask a trained classifier, tagger or encoder about new texts", PredictSettings, run_predict),
    "generate": _does("generate texts with a trained model", GenerateSettings, run_generate),
    "chat": _does("talk to a model, turn by turn, at the keyboard", ChatSettings, run_chat),
    "tour": _does("the whole life of a model, stage by stage, and a page about it", TourSettings, run_tour, start=main),
    "eval": _does("score a trained model on text, exactly", EvaluateSettings, run_evaluate),
}
