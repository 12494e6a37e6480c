"""Commands in this process, with runs of all kinds to begin with; and how long they may take."""

import json
import os
import signal
from pathlib import Path

from minillm.cli import main

LONGEST = 30  # seconds of the processor
TINY = "--depth 1 --width 16 --heads 1 --vocab-size 270 --max-steps 2 --dtype fp32 --device cpu".split()
STEPS = "--max-steps 2 --dtype fp32 --device cpu".split()

BEGINNINGS = {  # what a command needs to get anywhere; an attack's own flags come after, and win
    "answer": ["--from", "sft", "--with", "text.txt", "--question", "who sat?"],
    "page": ["--from", "pretrain"],
    "prepare": [
        "--data",
        "text.txt",
        "--vocab-size",
        "280",
        "--workers",
        "1",
    ],
    "bigram": ["--data", "text.txt", *TINY],
    "pretrain": ["--data", "text.txt", *TINY, "--context", "16"],
    "mlm": ["--data", "text.txt", *TINY, "--context", "16"],
    "classify": ["--data", "labelled.jsonl", *TINY],
    "pair": ["--data", "pairs.jsonl", *TINY],
    "tag": ["--data", "tagged.jsonl", *TINY],
    "encode": ["--data", "scored.jsonl", *TINY],
    "sft": ["--data", "chats.jsonl", "--from", "pretrain", *STEPS],
    "reward": ["--data", "preferences.jsonl", "--from", "sft", *STEPS],
    "dpo": ["--data", "preferences.jsonl", "--from", "sft", *STEPS],
    "ppo": "--data prompts.jsonl --from sft --reward reward --batch-size 4 --minibatch-size 2 --rounds 1 "
    "--max-new-tokens 4 --dtype fp32 --device cpu".split(),
    "models": [],
    "merge": ["--from", "adapter"],
    "export": ["--from", "adapter"],
    "predict": ["--from", "classify", "--text", "a film"],
    "generate": ["--from", "pretrain"],
    "chat": ["--from", "pretrain"],
    "eval": ["--from", "pretrain", "--data", "text.txt"],
    "tour": [],
    "doctor": [],
}


class Hung(BaseException):
    """It took too long."""


def tried(line: list[str], capsys) -> tuple[int, str]:
    """The exit status of a command line, and what it printed to stderr."""

    def hang(number, frame):
        raise Hung(" ".join(line))

    clocks = {signal.SIGPROF: signal.ITIMER_PROF, signal.SIGALRM: signal.ITIMER_REAL}
    previous = {number: signal.signal(number, hang) for number in clocks}
    signal.setitimer(signal.ITIMER_PROF, LONGEST)
    signal.setitimer(signal.ITIMER_REAL, LONGEST)  # of a machine that is busy; or it waits for something
    try:
        status = main(line)
    except SystemExit as exit:
        status = exit.code
    finally:
        for number, clock in clocks.items():
            signal.setitimer(clock, 0)
            signal.signal(number, previous[number])
    return status, capsys.readouterr().err


def make_world(folder: Path) -> Path:
    """Runs of all kinds, the files that they learned from, and files that nothing can be learned from."""
    write = lambda name, rows: (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))  # noqa: E731
    (folder / "text.txt").write_text("\n\n".join(f"say something kind, number {i}: you are good" for i in range(100)))
    numbers = range(24)
    write("labelled.jsonl", [{"text": f"{'good' if i % 2 else 'bad'} film {i}", "label": i % 2} for i in numbers])
    write("pairs.jsonl", [{"text_a": f"a {i}", "text_b": f"b {i}", "label": "x" if i % 2 else "y"} for i in numbers])
    write("scored.jsonl", [{"text_a": f"a {i}", "text_b": f"b {i}", "score": i / 24} for i in numbers])
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
        "pair": ["--data", "pairs.jsonl", "--from", "mlm", *STEPS],
        "tag": ["--data", "tagged.jsonl", "--from", "mlm", *STEPS],
        "encode": ["--data", "scored.jsonl", "--from", "mlm", *STEPS],
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
