"""Settings to flags: frozen dataclasses whose fields hold a default, the sentence of --help, and the values allowed.

What several commands share stands in groups (`settings`), each a field of the command's own settings: a function is
handed the group that it needs. On the command line and in config.json the names of all fields are flat.
"""

import argparse
import dataclasses
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def program() -> str:
    """What a person types to start a command: the program of a checkout, or the one that pip installed."""
    return "minillm" if Path(sys.argv[0]).stem in ("minillm", "__main__") else "python train.py"


def flag(default, help: str, *, choices: tuple | None = None):
    """A setting: its default, the sentence that --help shows, and the values that it may take."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})


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
        if field.default not in (None, ""):
            help += f" (default: {field.default})"
        arguments = {"dest": field.name, "help": help, "default": argparse.SUPPRESS}
        if hint is bool:
            headings[owner].add_argument(flag_name(field.name), action=argparse.BooleanOptionalAction, **arguments)
        else:
            choices = field.metadata["choices"]
            metavar = None if choices else {Path: "PATH", int: "N", float: "X"}.get(hint, "TEXT")
            headings[owner].add_argument(
                flag_name(field.name), type=hint, choices=choices, metavar=metavar, **arguments
            )


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
