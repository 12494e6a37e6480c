"""What the benchmarks share: ours and a peer's in turn, each run a process of its own, medians and ratios.

A benchmark is a script that, called with `--run NAME`, does one run and prints what it measured as JSON. Taking turns,
both see the same weather on the machine, and neither warms the other's caches.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
TINY = bool(os.environ.get("MINILLM_TINY"))  # shapes that show that a benchmark runs, and measure nothing
sys.path.insert(0, str(ROOT))  # so that a benchmark runs without installing the package

from minillm.system import Compute  # noqa: E402


def flags(description: str, repeats: int) -> argparse.ArgumentParser:
    """A parser with the flags that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=repeats, help="runs of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all runs to FILE")
    parser.add_argument("--run", help=argparse.SUPPRESS)  # the name of the one run to do, and its number
    parser.add_argument("--turn", type=int, default=0, help=argparse.SUPPRESS)
    return parser


def peak_bytes() -> int:
    """The most memory that this process has held."""
    return Compute(torch.device("cpu"), torch.float32).peak_memory()


def seconds_since_start() -> float:
    """Seconds since this process was asked for: the interpreter's start and every import are in it."""
    return time.time() - float(os.environ["ASKED_AT"])


def take_turns(names: list[str], repeats: int) -> dict[str, list[dict]]:
    """Run this script again with its own flags and `--run NAME`, each name in turn. Returns what each run printed."""
    runs = {name: [] for name in names}
    for turn in range(repeats):
        for name in names:
            print(f"{turn + 1} of {repeats}: {name}", file=sys.stderr, flush=True)
            command = [sys.executable, sys.argv[0], *sys.argv[1:], "--run", name, "--turn", str(turn)]
            environment = {**os.environ, "ASKED_AT": str(time.time())}
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    return runs


def product_rate(compute, size: int = 64 if TINY else 2048) -> float:
    """Operations a second of one large matrix product: what this machine can do at most, in the place's precision."""
    a, b = (torch.randn(size, size, device=compute.device, dtype=compute.dtype) for _ in range(2))
    seconds = []
    for _ in range(10):
        start = compute.synchronise()
        a @ b
        seconds.append(compute.synchronise() - start)
    return 2 * size**3 / statistics.median(seconds[3:])


def median(runs: list[dict], key: str) -> float:
    """The median of one quantity."""
    return statistics.median(run[key] for run in runs)


def main(args: argparse.Namespace, names: list[str], measure: Callable, show: Callable) -> None:
    """One run, or all in turn: measure(name, args) -> dict; show(runs, args) prints them and returns figures."""
    if args.run:
        print(json.dumps(measure(args.run, args)))
        return
    runs = take_turns(names, args.repeats)
    figures = show(runs, args)
    if args.json:
        args.json.write_text(json.dumps({"runs": runs, **figures}, indent=2) + "\n")
