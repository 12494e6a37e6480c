"""The command line: `python train.py STAGE --flag value`.

A stage is a frozen dataclass of settings and a function that takes it. The flags are made from the dataclass, so that
a setting, its default and its sentence stand in one place. What a person got wrong comes back as one sentence and
exit status 2; what they interrupted, as 130.
"""

import argparse
import errno
import sys

import torch

from minillm.cli.flags import add_flags
from minillm.system import check_seed


def build_parser() -> argparse.ArgumentParser:
    """The parser of every stage."""
    from minillm.cli.commands import STAGES

    parser = argparse.ArgumentParser(
        prog="train.py",
        description="Train a language model and use it. Without a stage: pretrain, on the tales that come with it.",
        epilog="train.py STAGE --help shows every flag of a stage.",
    )
    stages = parser.add_subparsers(dest="stage", metavar="STAGE")
    for name, stage in STAGES.items():
        sub = stages.add_parser(
            name,
            help=stage.summary,
            description=stage.function.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_flags(sub, stage.settings)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a stage; returns the exit status."""
    from minillm.cli.commands import STAGES

    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments = ["pretrain", *arguments]
    given = vars(build_parser().parse_args(arguments))
    stage = STAGES[given.pop("stage")]
    try:
        check_seed(given.get("seed", 0))
        return stage.function(stage.settings(**given), given) or 0
    except KeyboardInterrupt:
        return complain("interrupted", 130)
    except torch.OutOfMemoryError as error:
        return complain(f"out of memory ({first_line(error)}); choose a smaller --batch-size, --context or --depth", 2)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return complain(f"the disk is full ({error}); make room, then go on with --resume", 2)
        return complain(str(error), 2)
    except (ValueError, FloatingPointError) as error:
        return complain(str(error), 2)


def complain(message: str, status: int) -> int:
    """One line on standard error."""
    print(f"train.py: {message}", file=sys.stderr)
    return status


def first_line(error: Exception) -> str:
    """The first sentence of a long message."""
    return str(error).strip().split("\n")[0]
