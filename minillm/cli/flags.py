"""From the command line to settings, and to the command that takes them.

Settings are frozen dataclasses whose fields hold a default, the sentence of --help, and the values allowed. What
several commands share stands in groups (`settings`), each a field of the settings of a command: a function is handed
the group that it needs. On the command line and in config.json the names of all fields are flat.

What a person got wrong comes back as one sentence and exit status 2, what they interrupted as 130; `--debug` shows
where in the code it happened.
"""

import argparse
import dataclasses
import difflib
import dis
import errno
import os
import re
import sys
import traceback
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from minillm import __version__
from minillm.cli.terminal import careful_output, one_line, only_the_leader_prints
from minillm.report import short
from minillm.system import check_seed, is_lost, place_of_process, speaks_first

AUTO = "auto"  # on the command line: what follows from other settings, None in them
LARGEST = 2**31 - 1  # of a whole number that is no seed: what counts in 32 bits takes it
PIPE_CLOSED = 141  # the exit status of a program that nobody listens to any more, as shells know it


def program() -> str:
    """What a person types to start a command: the program of a checkout, or the one that pip installed."""
    path = Path(sys.argv[0])
    installed = path.stem == "minillm" or (path.parent.name, path.stem) == ("minillm", "__main__")
    return "minillm" if installed else "python train.py"


def flag(default, help: str, *, choices: tuple | None = None, most: int | None = None):
    """A setting: its default, the sentence that --help shows, the values that it may take, or the largest of them."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "most": most})


def auto(help: str, *, choices: tuple | None = None, most: int | None = None):
    """A setting that follows from others where nobody gives it: None, shown as "auto". 0 is refused."""
    return dataclasses.field(default=None, metadata={"help": help, "choices": choices, "most": most, "auto": True})


def group(kind: type):
    """Settings that stand together: a dataclass of its own, with its defaults."""
    return dataclasses.field(default_factory=kind)


def flag_name(field: str) -> str:
    """ "--batch-size" of the field batch_size, "--from" of from_."""
    return "--" + field.rstrip("_").replace("_", "-")


def fields_of(kind: type) -> Iterator[tuple[type, dataclasses.Field, type]]:
    """Every setting of a dataclass and of its groups: the dataclass that has it, the field, and its type."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if isinstance(hint, types.UnionType):  # int | None
            hint = next(member for member in typing.get_args(hint) if member is not types.NoneType)
        if dataclasses.is_dataclass(hint):
            yield from fields_of(hint)
        else:
            yield kind, field, hint


def add_flags(parser: argparse.ArgumentParser, kind: type) -> None:
    """A flag for every setting, under the heading of its group. What is not given does not appear in the result."""
    headings: dict[type, Any] = {}
    for owner, field, hint in fields_of(kind):
        if owner not in headings:
            headings[owner] = parser.add_argument_group(owner.__doc__.split(".")[0].lower())
        help = field.metadata["help"].replace("%", "%%")
        default = AUTO if "auto" in field.metadata else field.default
        if default not in (None, ""):
            help += f" (default: {default})"
        arguments = {"dest": field.name, "help": help, "default": argparse.SUPPRESS}
        if hint is bool:
            headings[owner].add_argument(flag_name(field.name), action=argparse.BooleanOptionalAction, **arguments)
        else:
            choices = field.metadata["choices"]
            metavar = f"{{{','.join(choices)}}}" if choices else {Path: "PATH", int: "N", float: "X"}.get(hint, "TEXT")
            headings[owner].add_argument(flag_name(field.name), type=reader(field, hint), metavar=metavar, **arguments)


def reader(field: dataclasses.Field, kind: type) -> Callable[[str], Any]:
    """What turns the word behind a flag into its value. Raises: ArgumentTypeError with what is wrong with it."""
    follows, choices, most = ("auto" in field.metadata), field.metadata["choices"], field.metadata["most"]

    def read(word: str) -> Any:
        if follows and word == AUTO:
            return None
        try:
            value = kind(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{short(word)!r} is no {'whole ' * (kind is int)}number") from None
        if choices and value not in choices:
            raise argparse.ArgumentTypeError(f"{short(word)!r} is none of {', '.join(choices)}")
        if kind is int and field.name != "seed" and abs(value) > (most or LARGEST):
            raise argparse.ArgumentTypeError(f"{short(word)} is too large: at most {most or LARGEST:,}")
        if follows and value == 0:
            raise argparse.ArgumentTypeError("0 is too small; leave the flag out, or say auto, to let it follow")
        return value

    return read


def names_of(kind: type) -> set[str]:
    """The names of all settings of a dataclass and of its groups."""
    return {field.name for _, field, _ in fields_of(kind)}


def refuse(given: dict, names: Iterable[str], reason: str) -> None:
    """Raises: ValueError for a flag, of these, that was typed and would change nothing."""
    for name in names:
        if name in given:
            raise ValueError(f"{flag_name(name)} has no use here: {reason}; leave it out")


def build(kind: type, values: dict[str, Any]) -> Any:
    """Settings, their groups included, from flat values; what is not there has its default."""
    hints = typing.get_type_hints(kind)
    own = {}
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            own[field.name] = build(hints[field.name], values)
        elif field.name in values:
            own[field.name] = values[field.name]
    return kind(**own)


def flat_values(settings: Any) -> dict[str, Any]:
    """The values of all settings by name, those of groups among them."""
    values = {}
    for name, value in vars(settings).items():
        values |= flat_values(value) if dataclasses.is_dataclass(value) else {name: value}
    return values


def change(settings: Any, **values) -> Any:
    """The same settings but for these, in whichever group they stand."""
    return build(type(settings), flat_values(settings) | values)


def check_out(settings: Any) -> None:
    """Raises: ValueError where the file that is to be written is one that is read."""
    values = flat_values(settings)
    out = values.pop("out", None)
    if not isinstance(out, Path) or not out.is_file():
        return
    for name, value in values.items():
        for path in value if isinstance(value, list | tuple) else [value]:
            if isinstance(path, Path) and path.is_file() and path.samefile(out):
                raise ValueError(f"--out {out} would overwrite what {flag_name(name)} reads: name another file")


# Commands


class Command(NamedTuple):
    """One command: what it does in a few words, its settings, and what takes them and the flags that were typed."""

    summary: str
    settings: type
    start: Callable[[Any, dict], int | None]
    help: str | None
    trains: bool = False  # and so can be started several times, by torchrun


def run_command(commands: dict[str, Command], arguments: list[str] | None = None) -> int:
    """Run the command that the arguments name, pretrain where they name none. Returns: the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version")):
        arguments = ["pretrain", *arguments]
    status, message, failure, complaints = 0, "", None, sys.stderr
    with only_the_leader_prints(), careful_output() as output:
        given = vars(build_parser(commands).parse_args(arguments))
        command, debug = commands[given.pop("command")], given.pop("debug", bool(os.environ.get("MINILLM_DEBUG")))
        try:
            check_seed(given.get("seed", 0))
            if place_of_process()[1] > 1 and not command.trains:
                raise ValueError("torchrun is for the commands that train: start this one without it")
            settings = build(command.settings, given)
            check_out(settings)
            status = command.start(settings, given) or 0
        except (KeyboardInterrupt, Exception) as error:
            failure = error
            message, status = explain(error, "resume" in given or "resume" in names_of(command.settings))
        lost = output and output.close_if_lost()
        if isinstance(failure or lost, BrokenPipeError):
            return PIPE_CLOSED
        if lost is not None:
            message, status = f"what is printed can not be written: {lost.strerror}", 2
        if message and speaks_first():
            if debug and failure is not None:
                traceback.print_exception(failure, file=complaints)
            print(one_line(f"{program().split()[-1]}: {message}"), file=complaints, flush=True)
    return status


def explain(error: BaseException, resumes: bool = False) -> tuple[str, int]:
    """One sentence about what went wrong, and the exit status. resumes: whether the command knows --resume."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    if is_lost(error):
        return "another process of this run has ended, and with it this one: go on with --resume", 2
    said = str(error).strip()
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in said:
        first = f" ({said.splitlines()[0]})" if said else ""
        return f"out of memory{first}; choose a smaller --batch-size, --context or --depth", 2
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full ({said}); make room, then {'go on with --resume' if resumes else 'try again'}", 2
    if said and (isinstance(error, OSError | FloatingPointError) or on_purpose(error)):
        return said, 2
    kind = type(error).__name__
    known = f"{kind}: {said}" if said else kind
    return f"an error that minillm did not expect ({known}): --debug, or MINILLM_DEBUG=1, shows where", 1


def on_purpose(error: BaseException) -> bool:
    """Whether this is a ValueError that minillm raises itself, which says what a person got wrong."""
    last = error.__traceback__
    if not isinstance(error, ValueError) or last is None:
        return False
    while last.tb_next is not None:
        last = last.tb_next
    code = last.tb_frame.f_code
    ours = Path(code.co_filename).is_relative_to(Path(__file__).parents[1])
    return ours and dis.opname[code.co_code[last.tb_lasti]] == "RAISE_VARARGS"  # a statement `raise`, no call


class Parser(argparse.ArgumentParser):
    """A parser that complains in one line, and names what is nearest to a misspelt command or flag."""

    def error(self, message: str):
        """Print what is wrong, and exit with status 2."""
        if word := re.search(r"(?:arguments: |invalid choice: ')(-{0,2}[\w-]+)", message):
            near = difflib.get_close_matches(word[1], self.words, 1)
            message += f"; did you mean {near[0]}?" if near else f"; {self.prog} --help shows what there is"
        self.exit(2, one_line(f"{self.prog}: error: {message}") + "\n")

    words: typing.ClassVar[list[str]] = []  # commands, or the flags of one
    commands: typing.ClassVar[dict[str, argparse.ArgumentParser]] = {}

    def parse_args(self, args=None, namespace=None):
        """The same as argparse's, but that a command complains itself of flags that it does not know."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.commands.get(found.command, self).error(f"unrecognized arguments: {' '.join(unknown)}")
        return found


def build_parser(commands: dict[str, Command]) -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog=program(),
        description="Train a language model and use it. Without a command: pretrain, on the tales that come with it.",
        epilog=f"{program()} COMMAND --help shows every flag of a command.",
    )
    parser.add_argument("--version", action="version", version=f"minillm {__version__}, torch {torch.__version__}")
    parser.words = [*commands]
    parsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    parser.commands = parsers.choices
    for name, command in commands.items():
        sub = parsers.add_parser(
            name,
            help=command.summary,
            description=(command.help or "").replace("python train.py", program()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_flags(sub, command.settings)
        help = "show the traceback of an error (also: MINILLM_DEBUG=1)"
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=help)
        sub.words = [*map(flag_name, names_of(command.settings))]
    return parser
