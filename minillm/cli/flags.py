"""x"""

import argparse
import dataclasses
import types
import typing
from pathlib import Path


def flag(default, help: str, *, choices: tuple | None = None):
    """A setting of a stage: its default, the sentence that --help shows, and the values it may take."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})


def flag_name(field: str) -> str:
    """ "--batch-size" of the field batch_size, "--from" of from_."""
    return "--" + field.rstrip("_").replace("_", "-")


def add_flags(parser: argparse.ArgumentParser, settings: type) -> None:
    """A flag for every field of a dataclass. What is not given on the command line does not appear in the result."""
    hints = typing.get_type_hints(settings)
    for field in dataclasses.fields(settings):
        kind = hints[field.name]
        if isinstance(kind, types.UnionType):  # int | None
            kind = next(member for member in typing.get_args(kind) if member is not types.NoneType)
        help = field.metadata["help"].replace("%", "%%")
        if field.default not in (None, ""):
            help += f" (default: {field.default})"
        arguments = {"dest": field.name, "help": help, "default": argparse.SUPPRESS}
        if kind is bool:
            parser.add_argument(flag_name(field.name), action=argparse.BooleanOptionalAction, **arguments)
        else:
            choices = field.metadata["choices"]
            metavar = None if choices else {Path: "PATH", int: "N", float: "X"}.get(kind, "TEXT")
            parser.add_argument(flag_name(field.name), type=kind, choices=choices, metavar=metavar, **arguments)
