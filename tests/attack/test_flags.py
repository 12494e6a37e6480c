"""Nonsense on the command line: random and boundary values for every flag of every command.

However wrong, it ends within seconds, in success or in one sentence with exit status 2, and leaves nothing
half-written.
ATTACKS=1000 in the environment tries a thousand; ATTACK_SEED chooses others.
"""

import argparse
import io
import json
import os
import random
import sys
from pathlib import Path

import pytest
from inside import BEGINNINGS, tried

from minillm.cli.flags import build_parser
from minillm.cli.main import COMMANDS

pytestmark = pytest.mark.attack
ATTACKS, SEED = int(os.environ.get("ATTACKS", "60")), int(os.environ.get("ATTACK_SEED", "0"))
ATTACKED = sorted(set(COMMANDS) - {"models"})  # which starts other commands, for a quarter of an hour

NUMBERS = (
    "0 1 -1 2 3 7 64 1000 100000 2147483647 2147483648 -2147483648 9223372036854775808 99999999999999999999".split()
)
NUMBERS += ["", " ", "abc", "1.5", "1e3", "nan", "0x10", "1_000", "٣", "auto", "--", "1" * 5000]
REALS = "0 -0.0 1 -1 0.5 2 1.0000001 1e-300 1e-45 1e30 1e308 1e400 nan inf -inf abc auto".split()
REALS += ["", "0,5", "٠٫٥"]
WORDS = [
    "",
    " ",
    "auto",
    "cpu",
    "cuda:99",
    "mps",
    "meta",
    "fp16",
    "bf16",
    "$a$",
    "\x1b[31m",
    "名前",
    "e\u0301",
    "\udc80",
]
WORDS += [
    "..",
    "a" * 5000,
    "a,b",
    "query",
    ",",
    "embedding,head",
    "\n",
    "characters",
    "bpe",
    "no.json",
    "{}",
    "%s",
    "-x",
]


def flags_of(command: str) -> list[argparse.Action]:
    """Every flag of a command, as its parser has it."""
    parsers = next(action for action in build_parser(COMMANDS)._actions if action.choices)
    return [action for action in parsers.choices[command]._actions if action.dest not in ("help", "debug")]


def nonsense(action: argparse.Action, rng: random.Random, world: Path, out: Path) -> list[str]:
    """A flag with a value that somebody might type."""
    name = action.option_strings[0]
    if action.nargs == 0:
        return [rng.choice(action.option_strings)]
    files = [str(path.relative_to(world)) for path in world.iterdir()] + ["", "nothing", "/dev/null", "text.txt/x", "/"]
    files += ["a" * 300, "~", "x\ny", "pretrain/config.json", "pretrain/model.safetensors", "e\u0301.txt"]
    if action.dest == "out":  # what only writes a file may write over one
        taken = [] if action.container.title != "run" and "file" in action.help else ["text.txt", "pretrain", "folder"]
        return [name, rng.choice([*taken, str(out), "text.txt/x", "/dev/null", "", "a" * 300])]
    if action.metavar.startswith("{"):
        return [name, rng.choice([*action.metavar.strip("{}").split(","), *WORDS])]
    return [name, rng.choice({"N": NUMBERS, "X": REALS, "PATH": files}.get(action.metavar, WORDS))]


def attack(command: str, rng: random.Random, world: Path, out: Path) -> list[str]:
    """A command line with one to three flags that are nonsense."""
    actions = flags_of(command)
    chosen = rng.sample(actions, min(rng.choice((1, 1, 2, 3)), len(actions)))
    line = [command, *BEGINNINGS[command]]
    if any(action.dest == "out" for action in actions):
        line += ["--out", str(out)]
    for action in chosen:
        line += nonsense(action, rng, world, out)
    return line


@pytest.mark.parametrize("number", range(ATTACKS))
def test_nonsense_ends_in_a_sentence_and_leaves_nothing_half_written(
    number, world, short_lives, tmp_path, capsys, monkeypatch
):
    rng = random.Random(SEED * 1_000_003 + number)
    command = ATTACKED[number % len(ATTACKED)]
    out = tmp_path / "out"
    line = attack(command, rng, world, out)
    kept = {path: path.read_bytes() for path in world.rglob("*") if path.is_file()}
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n\nquit\n"))
    status, error = tried(line, capsys)
    assert status in (0, 2), (status, line, error[-2000:])
    assert "Traceback" not in error, (line, error[-3000:])
    if status == 2:
        last = [part for part in error.replace("\r", "\n").splitlines() if part.strip()][-1]
        assert len(last) < 1200 and ": " in last, (line, error[-2000:])
    for path, content in kept.items():
        assert path.read_bytes() == content, (line, path)
    new = [path for path in world.rglob("*") if path not in kept and path.is_file()]
    assert not [path for path in [*new, *tmp_path.rglob("*")] if path.name.startswith(".") or path.suffix == ".part"], (
        line
    )
    if status == 2 and out.exists() and out.is_dir():
        begun = "progress.json" if command == "prepare" else "config.json"
        assert json.loads((out / begun).read_text()), line  # it had begun, and can be resumed
