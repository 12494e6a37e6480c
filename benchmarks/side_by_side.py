"""What the benchmarks share: ours and a peer's in turn, each run a process of its own, medians and ratios.

A benchmark is a script that, called with `--run NAME`, does one run and prints what it measured as JSON. Taking turns,
both see the same weather on the machine, and neither warms the other's caches.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def flags(description: str, names: dict[str, str], repeats: int) -> argparse.ArgumentParser:
    """A parser with the flags that every benchmark has. `names`: whom it can run, and what they are called."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=repeats, help="runs of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all runs to FILE")
    parser.add_argument("--run", choices=names, help=argparse.SUPPRESS)
    return parser


def peak_bytes() -> int:
    """The most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def take_turns(names: list[str], repeats: int) -> dict[str, list[dict]]:
    """Run this script again with its own flags and `--run NAME`, each name in turn. Returns what each run printed."""
    runs = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            command = [sys.executable, sys.argv[0], *sys.argv[1:], "--run", name]
            runs[name].append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    return runs


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
