"""Do the default recipes hold? Every training command, over seeds, in fp32 and bf16, from raw text to aligned.

    python benchmarks/robustness.py                          all of it: hours; what is there is not run again
    python benchmarks/robustness.py --stages pretrain sft    some commands, each after those that it begins with
    python benchmarks/robustness.py --seeds 0 1 --jobs 2     some seeds; two runs side by side
    python benchmarks/robustness.py --draw                   the tables and the picture again

Every run is the command as a user would call it, with a seed and a precision, on the runs of the same seed and
precision before it. A table has the worst, the median and the best run of each command; another what bf16 costs,
paired by seed. On a processor without bf16 instructions bf16 takes many times as long: use fewer seeds there.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import torch
from side_by_side import ROOT

from minillm.metrics import seed_interval
from minillm.report import COLOURS, picture
from minillm.system import write_json
from minillm.training import RunFolder

PRECISIONS = ("fp32", "bf16")


class Stage(NamedTuple):
    """A command; the stages that it begins with, by flag; its score, and whether more of it is better."""

    command: tuple[str, ...]
    score: str
    before: dict[str, str] = MappingProxyType({})
    seconds: int = 100  # of one run on two cores, to say beforehand how long all takes


STAGES = {
    "pretrain": Stage(("pretrain",), "gap_closed"),
    "sft": Stage(("sft",), "exact_match", {"from": "pretrain"}, 170),
    "mlm": Stage(("mlm",), "restored", seconds=200),
    "lstm": Stage(("pretrain", "--model", "lstm"), "gap_closed"),
    "classify": Stage(("classify",), "accuracy", {"from": "mlm"}, 60),
    "entailment": Stage(("pair",), "accuracy", {"from": "mlm"}),
    "next_sentence": Stage(("pair", "--task", "next_sentence"), "accuracy", {"from": "mlm"}),
    "tag": Stage(("tag",), "f1", {"from": "mlm"}, 30),
    "encode": Stage(("encode",), "recall_at_1", {"from": "mlm"}, 60),
    "letters": Stage(("sft", "--task", "letters"), "exact_match", {"from": "sft"}),
    "reward": Stage(("reward",), "accuracy", {"from": "letters"}, 40),
    "ppo": Stage(("ppo",), "deviations_gained", {"from": "letters", "reward": "reward"}, 180),
    "dpo": Stage(("dpo",), "deviations_gained", {"from": "letters"}, 240),
}
LEFT_OUT = ("baselines", "peak_memory_bytes", "tokens_per_second", "stage", "stopped", "parameters")


def key_of(stage: str, precision: str, seed: int) -> str:
    """The name of a run in the JSON file."""
    return f"{stage} {precision} {seed}"


def needed(stages: list[str]) -> list[str]:
    """These stages and all that they begin with, in the order to run them."""
    wanted = set(stages)
    for name in reversed(STAGES):  # a stage stands behind those that it begins with
        if name in wanted:
            wanted |= set(STAGES[name].before.values())
    return [name for name in STAGES if name in wanted]


def run(name: str, precision: str, seed: int, folder: Path, threads: int) -> dict:
    """One command in a process of its own; what its metrics.json says, and the seconds of the whole process."""
    runs, stage = folder / f"{precision}-{seed}", STAGES[name]
    command = [sys.executable, str(ROOT / "train.py"), *stage.command, "--seed", str(seed), "--dtype", precision]
    command += ["--out", str(runs / name)]
    for flag, earlier in stage.before.items():
        command += [f"--{flag}", str(runs / earlier)]
    begun = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, cwd=ROOT
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr.strip().splitlines()[-1]}")
    metrics = {key: value for key, value in RunFolder(runs / name).metrics().items() if key not in LEFT_OUT}
    return metrics | {"process_seconds": round(time.perf_counter() - begun, 1), "threads": threads}


def measure(found: dict, flags: argparse.Namespace) -> None:
    """Run what is missing, stage after stage, and keep each result at once."""
    threads = max(torch.get_num_threads() // flags.jobs, 1)
    work = [
        (name, precision, seed)
        for name in needed(flags.stages)
        for seed in flags.seeds
        for precision in flags.precisions
        if key_of(name, precision, seed) not in found
    ]
    left = sum(STAGES[name].seconds for name, *_ in work)
    print(f"{len(work)} runs, about {left / 60:.0f} minutes on two cores", flush=True)
    for name in STAGES:  # the runs of one stage side by side: none of them begins with another
        own = [one for one in work if one[0] == name]
        with ThreadPoolExecutor(flags.jobs) as pool:
            for one, result in zip(own, pool.map(lambda one: run(*one, flags.runs, threads), own)):
                found[key_of(*one)] = result
                write_json(flags.json, found)
                print(f"{key_of(*one)}: {said(name, result)}, {result['process_seconds']:.0f} s", flush=True)


def said(name: str, result: dict) -> str:
    """The score of a run, its loss, and its weakest kind of question."""
    score = STAGES[name].score
    text = f"{score} {result[score]:.3f}"
    if result["val_loss"] is not None:
        text += f", loss {result['val_loss']:.4f}"
    if name == "sft":
        kind, right = weakest(result)
        text += f", weakest kind {kind} {right:.3f}"
    return text


def weakest(result: dict) -> tuple[str, float]:
    """The kind of exact question that a run of `sft` answers worst, and the share that it gets right."""
    open_kinds = ("", "continue", "summary")  # all kinds together; those that are not scored by exact match
    rights = {kind: row["right"] for kind, row in result["kinds"].items() if kind not in open_kinds}
    return min(rights.items(), key=lambda item: item[1])


def values_of(found: dict, name: str, precision: str, of: str) -> dict[int, float]:
    """One quantity of the runs of a stage, by seed."""
    rows = {tuple(key.rsplit(" ", 2)): row for key, row in found.items()}
    return {int(seed): row[of] for (stage, p, seed), row in rows.items() if (stage, p) == (name, precision)}


def table(found: dict) -> None:
    """Worst, median and best of each command."""
    print("| command | precision | seeds | score | worst | median | best | loss, median | seconds, median |")
    print("|---" * 9 + "|")
    for name, stage in STAGES.items():
        for precision in PRECISIONS:
            scores = sorted(values_of(found, name, precision, stage.score).values())
            if not scores:
                continue
            losses = [x for x in values_of(found, name, precision, "val_loss").values() if x is not None]
            loss = f"{statistics.median(losses):.4f}" if losses else ""
            seconds = statistics.median(values_of(found, name, precision, "process_seconds").values())
            score = f"{scores[0]:.3f} | {statistics.median(scores):.3f} | {scores[-1]:.3f}"
            row = f"| {name} | {precision} | {len(scores)} | {stage.score.replace('_', ' ')} | {score}"
            print(f"{row} | {loss} | {seconds:.0f} |")


def differences(found: dict, name: str, of: str) -> list[float]:
    """bf16 minus fp32, seed by seed."""
    fp32, bf16 = (values_of(found, name, precision, of) for precision in PRECISIONS)
    return [bf16[seed] - fp32[seed] for seed in sorted(fp32.keys() & bf16.keys()) if fp32[seed] is not None]


def paired_table(found: dict) -> None:
    """What bf16 costs: the mean of the paired differences, with their t interval over seeds."""
    print("\n| bf16 minus fp32, paired | seeds | score | validation loss |")
    print("|---" * 4 + "|")
    for name, stage in STAGES.items():
        columns = [differences(found, name, of) for of in (stage.score, "val_loss")]
        if len(columns[0]) > 1:
            cells = [f"{seed_interval(own)}" if len(own) > 1 else "" for own in columns]
            print(f"| {name} | {len(columns[0])} | " + " | ".join(cells) + " |")


def draw(found: dict, path: Path) -> None:
    """A dot for each run, a row for each command: how far the seeds are apart, in each precision."""
    names = [name for name in STAGES if any(values_of(found, name, one, STAGES[name].score) for one in PRECISIONS)]
    with picture(path, figsize=(7.5, 0.45 * len(names) + 1)) as ax:
        for row, name in enumerate(names):
            for number, precision in enumerate(PRECISIONS):
                scores = list(values_of(found, name, precision, STAGES[name].score).values())
                label = precision if row == 0 else None
                height = [row + 0.3 * (number - 0.5)] * len(scores)
                ax.plot(scores, height, "os"[number], color=COLOURS[number], alpha=0.6, label=label)
        ax.set_yticks(range(len(names)), [f"{name}: {STAGES[name].score.replace('_', ' ')}" for name in names])
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set(xlabel="score (deviations gained: of the model before)")
        ax.legend()


def main() -> None:
    """Run what is missing, then show all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", choices=tuple(STAGES), default=list(STAGES))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side; they share the threads")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "robustness", help="where the runs are")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "robustness.json", metavar="FILE")
    parser.add_argument("--picture", type=Path, default=ROOT / "benchmarks" / "robustness.png", metavar="FILE")
    parser.add_argument("--draw", action="store_true", help="run nothing")
    flags = parser.parse_args()
    found = json.loads(flags.json.read_text()) if flags.json.exists() else {}
    if not flags.draw:
        measure(found, flags)
    table(found)
    paired_table(found)
    draw(found, flags.picture)


if __name__ == "__main__":
    main()
