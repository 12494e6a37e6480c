"""Commands in forked children, which have imported all already; killed where a test says; and what they leave."""

import contextlib
import fcntl
import hashlib
import json
import os
import resource
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from minillm.cli import main
from minillm.system import load_file

ATTACKS = int(os.environ.get("ATTACKS", "0"))  # how many are tried; 0: a small share
SEED = os.environ.get("ATTACK_SEED", "")  # others
KILLED = 137
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "fcntl.flock"}
TIMES = ("seconds", "per_second", "peak_memory_bytes")  # of metrics.json: no two runs agree
MODEL = "--depth 1 --width 16 --heads 2 --context 32 --vocab-size 280 --max-steps 4 --eval-every 2".split()
MACHINE = "--dtype fp32 --device cpu".split()
TUNE = [*"--max-steps 4 --eval-every 2".split(), *MACHINE]
RLHF = "ppo --data prompts.jsonl --test prompts_test.jsonl --from sft --reward reward --rounds 2 --batch-size 4".split()
RLHF += [*"--minibatch-size 2 --epochs 1 --max-new-tokens 4".split(), *MACHINE]


def text_run(stage: str, *more: str) -> list[str]:
    return [stage, "--data", "text.txt", *MODEL, *MACHINE, *more]


def tuned(stage: str, data: str, source: str, *more: str) -> list[str]:
    return [stage, "--data", f"{data}.jsonl", "--test", f"{data}_test.jsonl", "--from", source, *TUNE, *more]


METHODS = ("lora", "adalora", "prompt", "ptuning", "prefix", "ia3", "llama_adapter", "bitfit", "adapter")
COMMANDS = {
    "pretrain": text_run("pretrain"),
    "lstm": text_run("pretrain", "--model", "lstm"),
    "bigram": text_run("bigram"),
    "mlm": text_run("mlm"),
    "classify": tuned("classify", "labels", "mlm"),
    "scratch": ["classify", "--data", "labels.jsonl", *MODEL, *MACHINE],
    "pair": tuned("pair", "pairs", "mlm"),
    "tag": tuned("tag", "tags", "mlm"),
    "encode": tuned("encode", "pairs", "mlm"),
    "sft": tuned("sft", "talks", "pretrain"),
    "reward": tuned("reward", "choices", "sft"),
    "dpo": tuned("dpo", "choices", "sft"),
    "dpo-lora": tuned("dpo", "choices", "sft", "--method", "lora"),
    "ppo": RLHF,
    "ppo-lora": [*RLHF, "--method", "lora"],
    "merge": ["merge", "--from", "lora"],
    **{f"classify-{method}": tuned("classify", "labels", "mlm", "--method", method) for method in METHODS},
    "sft-lora": tuned("sft", "talks", "pretrain", "--method", "lora", "--also", "head"),
    "second-lora": tuned("classify", "labels", "lora", "--method", "lora", "--rank", "2"),
}
BASES = {"pretrain": "pretrain", "mlm": "mlm", "sft": "sft", "reward": "reward", "lora": "classify-lora"}


def write_data(folder: Path) -> None:
    """A few records for every command."""
    words = ("red", "blue", "old", "new")
    for part, numbers in (("", range(20)), ("_test", range(20, 26))):
        rows = {
            "labels": [{"text": f"a {words[i % 4]} film {i}", "label": "ab"[i % 2]} for i in numbers],
            "pairs": [{"text_a": f"a {words[i % 4]} film {i}", "text_b": f"film {i}", "label": i % 2} for i in numbers],
            "tags": [{"tokens": ["see", words[i % 4], f"film{i}"], "tags": ["O", "B-X", "I-X"]} for i in numbers],
            "talks": [{"prompt": f"odd {i}", "completion": "yes" if i % 2 else "no"} for i in numbers],
            "choices": [{"prompt": f"odd {i}", "chosen": "yes", "rejected": "no"} for i in numbers],
            "prompts": [{"prompt": f"odd {i}"} for i in numbers],
        }
        for name, records in rows.items():
            (folder / f"{name}{part}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "text.txt").write_text(
        "\n\n".join(f"a {words[i % 4]} film, odd: yes or no, see film {i}" for i in range(40))
    )


@dataclass
class Ended:
    """How a child ended."""

    status: int  # 128 + the signal, where one killed it
    said: str  # on stderr
    operations: int  # that changed files
    seconds: float


def start(arguments: list[str], folder: Path, die_at: int = 0, stop_at: int = 0, log: str = "child") -> int:
    """The process id of a child that runs a command in a folder; it dies, or stops, before an operation on files."""
    sys.stdout.flush(), sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.chdir(folder)
        for number, name in ((1, f"{log}.out"), (2, f"{log}.err")):
            os.dup2(os.open(folder.parent / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")
        resource.setrlimit(
            resource.RLIMIT_AS, (12 << 30, 12 << 30)
        )  # a model of a mad size is an error, and no swapping
        torch.set_num_threads(1)
        count = watch(folder, die_at, stop_at)
        status = main(arguments)
        (folder.parent / f"{log}.count").write_text(str(count[0]))
    except SystemExit as ended:  # argparse
        status = int(ended.code or 0)
    except KeyboardInterrupt:  # before the command began, or after it ended
        status = 130
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)


def wait(child: int, folder: Path, log: str = "child", limit: float = 120) -> Ended:
    """What became of a child; one that does not end in time is killed."""
    begun = time.monotonic()
    while (found := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() - begun > limit:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    status = os.waitstatus_to_exitcode(found[1])
    count = folder.parent / f"{log}.count"
    operations = int(count.read_text()) if count.exists() else 0
    count.unlink(missing_ok=True)
    said = (folder.parent / f"{log}.err").read_text(errors="replace") if (folder.parent / f"{log}.err").exists() else ""
    return Ended(128 - status if status < 0 else status, said, operations, time.monotonic() - begun)


def run(arguments: list[str], folder: Path, **more) -> Ended:
    """A command in a child, to its end."""
    return wait(start(arguments, folder, **more), folder)


def watch(folder: Path, die_at: int, stop_at: int) -> list[int]:
    """Count the operations that change files below a folder; die before one of them, within it if it adds to a file."""
    count, own = [0], str(folder)

    def operation(path, adds: bool = False) -> None:
        count[0] += 1
        if count[0] == die_at:
            if adds:
                os.write(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), b'{"step": 1, "lo')
            os._exit(KILLED)
        if count[0] == stop_at:
            os.kill(os.getpid(), signal.SIGSTOP)

    def hook(event: str, arguments: tuple) -> None:
        if event == "open" and isinstance(arguments[0], str) and isinstance(arguments[2], int):
            path, _, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and os.path.abspath(path).startswith(own):
                operation(path, adds=bool(flags & os.O_APPEND))
        elif event in CHANGES:
            operation(arguments[0])

    sync = os.fsync
    os.fsync = lambda handle: (operation(None), sync(handle))  # all is written, and has not its name yet
    sys.addaudithook(hook)
    return count


def again(arguments: list[str], out: Path) -> list[str]:
    """What a person types after a kill."""
    return [*arguments, "--resume"] if (out / "config.json").exists() else arguments


def contents(folder: Path) -> dict:
    """Every file of a run, but for what the clock says."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            found[name] = "folder"
        elif path.name == "metrics.json":
            metrics = json.loads(path.read_text())
            found[name] = {key: value for key, value in metrics.items() if not key.endswith(TIMES)}
        elif path.name == "training.safetensors":
            tensors, metadata = load_file(path)
            state = json.loads(metadata["state"])
            state["history"]["seconds"] = 0
            if state["history"]["stopped"] == "interrupted":  # in the last step: nothing was left to do but the report
                state["history"]["stopped"] = ""
            numbers = {key: digest(tensor.numpy().tobytes()) for key, tensor in tensors.items()}
            found[name] = (state, numbers)
        else:
            found[name] = digest(path.read_bytes())
    return found


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def differences(one: dict, other: dict) -> list[str]:
    """The names of the files that differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def fresh(folder: Path, *names: str) -> None:
    """Remove what earlier commands wrote."""
    for name in names or ("out", "runs"):
        shutil.rmtree(folder / name, ignore_errors=True)


def make_zoo(folder: Path) -> Path:
    """A folder with data and a run of each kind that others begin with."""
    folder.mkdir()
    write_data(folder)
    here = os.getcwd()
    os.chdir(folder)
    try:  # in this process, which its children then need not warm up again
        for out, name in BASES.items():
            assert main([*COMMANDS[name], "--out", out]) == 0
    finally:
        os.chdir(here)
    return folder


def is_locked(folder: Path) -> bool:
    """Whether some process holds the lock of a run folder."""
    if not (folder / ".lock").exists():
        return False
    with open(folder / ".lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
