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
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from minillm import training
from minillm.cli import main
from minillm.cli.flags import build_parser
from minillm.cli.main import COMMANDS

pytestmark = pytest.mark.attack
ATTACKS, SEED = int(os.environ.get("ATTACKS", "60")), int(os.environ.get("ATTACK_SEED", "0"))
LONGEST = 30  # seconds of the processor
TINY = "--depth 1 --width 16 --heads 1 --vocab-size 270 --max-steps 2 --dtype fp32 --device cpu".split()
STEPS = "--max-steps 2 --dtype fp32 --device cpu".split()

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


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Runs of all kinds, the files that they learned from, and files that nothing can be learned from."""
    folder = tmp_path_factory.mktemp("world")
    write = lambda name, rows: (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))  # noqa: E731
    (folder / "text.txt").write_text("\n\n".join(f"say something kind, number {i}: you are good" for i in range(100)))
    numbers = range(24)
    write("labelled.jsonl", [{"text": f"{'good' if i % 2 else 'bad'} film {i}", "label": i % 2} for i in numbers])
    write("pairs.jsonl", [{"text_a": f"a {i}", "text_b": f"b {i}", "label": "x" if i % 2 else "y"} for i in numbers])
    write("tagged.jsonl", [{"tokens": ["Mira", f"sat{i}"], "tags": ["B-PER", "O"]} for i in numbers])
    write("chats.jsonl", [{"prompt": f"say {i}", "completion": f"you are {i}"} for i in numbers])
    write("preferences.jsonl", [{"prompt": f"say {i}", "chosen": f"you {i}", "rejected": f"bad {i}"} for i in numbers])
    write("prompts.jsonl", [{"prompt": f"say {i}"} for i in numbers])
    (folder / "empty").touch()
    (folder / "binary.bin").write_bytes(b"\x89PNG\0\xff" * 99)
    (folder / "folder").mkdir()
    made = {
        "pretrain": ["--data", "text.txt", *TINY, "--context", "64"],
        "mlm": ["--data", "text.txt", *TINY, "--context", "64"],
        "sft": ["--data", "chats.jsonl", "--from", "pretrain", *STEPS],
        "reward": ["--data", "preferences.jsonl", "--from", "sft", *STEPS],
        "classify": ["--data", "labelled.jsonl", "--from", "mlm", *STEPS],
        "adapter": ["--data", "chats.jsonl", "--from", "pretrain", "--method", "lora", *STEPS],
    }
    here = Path.cwd()
    os.chdir(folder)
    try:
        for name, flags in made.items():
            assert main(["sft" if name == "adapter" else name, *flags, "--out", name]) == 0
    finally:
        os.chdir(here)
    return folder


BEGINNINGS = {  # what a command needs to get anywhere; an attack's own flags come after, and win
    "bigram": ["--data", "text.txt", *TINY],
    "pretrain": ["--data", "text.txt", *TINY, "--context", "16"],
    "mlm": ["--data", "text.txt", *TINY, "--context", "16"],
    "classify": ["--data", "labelled.jsonl", *TINY],
    "pair": ["--data", "pairs.jsonl", *TINY],
    "tag": ["--data", "tagged.jsonl", *TINY],
    "encode": ["--data", "pairs.jsonl", *TINY],
    "sft": ["--data", "chats.jsonl", "--from", "pretrain", *STEPS],
    "reward": ["--data", "preferences.jsonl", "--from", "sft", *STEPS],
    "dpo": ["--data", "preferences.jsonl", "--from", "sft", *STEPS],
    "ppo": "--data prompts.jsonl --from sft --reward reward --batch-size 4 --minibatch-size 2 --rounds 1 "
    "--max-new-tokens 4 --dtype fp32 --device cpu".split(),
    "merge": ["--from", "adapter"],
    "export": ["--from", "adapter"],
    "predict": ["--from", "classify", "--text", "a film"],
    "generate": ["--from", "pretrain"],
    "chat": ["--from", "pretrain"],
    "eval": ["--from", "pretrain", "--data", "text.txt"],
    "tour": [],
}


class Hung(BaseException):
    """It took too long."""


@pytest.fixture
def short_lives(world, tmp_path, monkeypatch):
    """Two steps are enough, pictures are not drawn, and texts are short."""
    fit = training.fit

    def two_steps(model, loss, batches, config, *more, **named):
        return fit(
            model,
            loss,
            batches,
            replace(config, steps=min(config.steps, 2), accumulate=min(config.accumulate, 2), eval_every=1),
            *more,
            **named,
        )

    from minillm.cli import generate, ppo, pretrain

    def few(own):
        def complete(model, tokenizer, prompts, length=4, *more, **named):
            return own(model, tokenizer, prompts[:2], min(length, 4), *more, **named) + [""] * (len(prompts) - 2)

        return complete

    config_of = ppo.ppo_config
    monkeypatch.setattr("minillm.cli.life.fit", two_steps)
    monkeypatch.setattr(
        ppo, "ppo_config", lambda *some: replace(c := config_of(*some), rounds=1, epochs=min(c.epochs, 2))
    )
    monkeypatch.setattr(ppo, "STANDARD", 12)
    monkeypatch.setattr(pretrain, "write", few(pretrain.write))
    monkeypatch.setattr(generate, "write", few(generate.write))
    monkeypatch.setattr("minillm.training.trainer.compiled", lambda model: model)
    monkeypatch.setattr("minillm.cli.tour.STAGES", ())
    monkeypatch.setattr("minillm.cli.tour.life_story", lambda *some: "")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, content, **_: content.write(b"no picture"))
    monkeypatch.chdir(world)


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


def tried(line: list[str], capsys) -> tuple[int, str]:
    """The exit status of a command line, and what it printed to stderr."""

    def hang(number, frame):
        raise Hung(" ".join(line))

    previous = signal.signal(signal.SIGPROF, hang)
    signal.setitimer(signal.ITIMER_PROF, LONGEST)
    try:
        status = main(line)
    except SystemExit as exit:
        status = exit.code
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
    return status, capsys.readouterr().err


@pytest.mark.parametrize("number", range(ATTACKS))
def test_nonsense_ends_in_a_sentence_and_leaves_nothing_half_written(
    number, world, short_lives, tmp_path, capsys, monkeypatch
):
    rng = random.Random(SEED * 1_000_003 + number)
    command = sorted(COMMANDS)[number % len(COMMANDS)]
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
        assert json.loads((out / "config.json").read_text())["stage"], line  # it had begun, and can be resumed
