"""Do the lessons' claims hold? Every notebook in fp32 and bf16, on one thread and two, with other seeds of its own.

    python benchmarks/lessons.py                               all: hours; what is there is not run again
    python benchmarks/lessons.py --lessons 15 15 --ways bf16   some lessons, in some ways
    python benchmarks/lessons.py --show                        the table again

A claim is an `assert` of a lesson. A cell that fails loses the claims that stand in it, and the lesson goes on; cells
that need what it made then fail as well, and are counted too. Other seeds: each whole number that a lesson gives to a
generator of random numbers is moved by as much, in its own process, so that its experiments begin elsewhere while the
trained models stay what they are. Each lesson runs in a folder of its own.
"""

import argparse
import ast
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from side_by_side import ROOT

from minillm.system import write_json

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SETTING_UP = 3.0  # seconds of a cell, from which on it counts as an experiment
MOVE_SEEDS = """
import random as _random
import numpy as _numpy
import torch as _torch

_shift = {shift}


class _Generator(_torch.Generator):
    def manual_seed(self, seed):
        super().manual_seed(seed + _shift)
        return self


class _Random(_random.Random):
    def __init__(self, seed=None):
        super().__init__(seed + _shift if isinstance(seed, int) else seed)


_manual_seed, _default_rng = _torch.manual_seed, _numpy.random.default_rng
_torch.Generator, _random.Random = _Generator, _Random
_torch.manual_seed = lambda seed: _manual_seed(seed + _shift)
_numpy.random.default_rng = lambda seed=None: _default_rng(seed + _shift if isinstance(seed, int) else seed)
"""


class Way(NamedTuple):
    """How lessons are run: precision, threads, and what is added to seeds."""

    precision: str = "fp32"
    threads: int = 1
    shift: int = 0


WAYS = {
    "fp32": Way(),
    "fp32, 2 threads": Way(threads=2),
    "bf16": Way("bf16"),
    "bf16, 2 threads": Way("bf16", 2),
    **{f"seeds + {shift}": Way(shift=shift) for shift in (1000, 2000, 3000)},
}


def claims(source: str) -> int:
    """The assertions in a cell."""
    return sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(source)))


def run(path: Path, way: Way) -> dict:
    """A lesson from top to bottom: its claims, those that failed with the reason, and its times in seconds."""
    notebook = nbformat.read(path, as_version=4)
    environment = {**os.environ, "MINILLM_DTYPE": way.precision, "OMP_NUM_THREADS": str(way.threads)}
    environment["PYTHONPATH"] = str(ROOT)
    if way.shift:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(MOVE_SEEDS.format(shift=way.shift)))
    found, failed, seconds = 0, [], []
    with tempfile.TemporaryDirectory() as folder:
        kernel = {"extra_arguments": ["--log-level=40"], "resources": {"metadata": {"path": folder}}}
        client = NotebookClient(notebook, timeout=1800, **kernel)
        with client.setup_kernel(env=environment):
            for place, cell in enumerate(notebook.cells):
                if cell.cell_type != "code":
                    continue
                own, begun = claims(cell.source), time.perf_counter()
                found += own
                try:
                    client.execute_cell(cell, place)
                except CellExecutionError as error:
                    where = place - bool(way.shift)
                    failed.append({"cell": where, "claims": own, "why": f"{error.ename}: {error.evalue}"[:300]})
                seconds.append(time.perf_counter() - begun)
    imports = 2 + bool(way.shift)  # the first two cells of code import and find the models
    before = next(
        (sum(seconds[:n]) for n, own in enumerate(seconds) if n >= imports and own > SETTING_UP), sum(seconds)
    )
    return {
        "claims": found,
        "failed": failed,
        "seconds": round(sum(seconds), 1),
        "seconds_before_the_first_experiment": round(before, 1),
    }


def table(found: dict) -> None:
    """A row for each lesson: of its claims, how many survived, in each way."""
    ways = [way for way in WAYS if any(key.endswith(f"|{way}") for key in found)]
    print("| lesson | claims | " + " | ".join(ways) + " | seconds | to the first experiment |")
    print("|---" * (len(ways) + 4) + "|")
    for path in NOTEBOOKS:
        rows = {way: found[f"{path.stem}|{way}"] for way in ways if f"{path.stem}|{way}" in found}
        if not rows:
            continue
        first = next(iter(rows.values()))
        survived = [
            str(rows[way]["claims"] - sum(one["claims"] for one in rows[way]["failed"])) if way in rows else ""
            for way in ways
        ]
        early = first.get("seconds_before_the_first_experiment")
        times = f"{first['seconds']:.0f} | {'' if early is None else round(early)}"
        print(f"| {path.stem[:2]} | {first['claims']} | " + " | ".join(survived) + f" | {times} |")
    for key, row in found.items():
        for one in row["failed"]:
            print(f"{key}: cell {one['cell']}, {one['claims']} claims: {one['why']}")


def main() -> None:
    """Run what is missing, then show all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lessons", nargs="+", help="their numbers (default: all)")
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=list(WAYS))
    parser.add_argument("--jobs", type=int, default=1, help="lessons side by side")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "lessons.json", metavar="FILE")
    parser.add_argument("--show", action="store_true", help="run nothing")
    flags = parser.parse_args()
    found = json.loads(flags.json.read_text()) if flags.json.exists() else {}
    paths = [path for path in NOTEBOOKS if not flags.lessons or path.stem[:2] in flags.lessons]
    work = [(path, way) for way in flags.ways for path in paths if f"{path.stem}|{way}" not in found]
    if not flags.show:
        with ThreadPoolExecutor(flags.jobs) as pool:
            for (path, way), row in zip(work, pool.map(lambda one: run(one[0], WAYS[one[1]]), work)):
                found[f"{path.stem}|{way}"] = row
                write_json(flags.json, found)
                print(f"{path.stem}, {way}: {row['claims']} claims, {row['seconds']:.0f} s", flush=True)
                for one in row["failed"]:
                    print(f"  cell {one['cell']}: {one['why']}", flush=True)
    table(found)


if __name__ == "__main__":
    main()
