"""Does tuning a real model pay? MiniLM on film reviews, SmolLM2 on instructions; rates chosen on data held out.

    python benchmarks/real_models_tasks.py --minilm FOLDER --reviews FOLDER      full, head, LoRA, BitFit; three seeds
    python benchmarks/real_models_tasks.py --smollm2 FILE --instructions FILE    LoRA: held-out loss and ROUGE-L
    python benchmarks/real_models_tasks.py --show                                the tables again

FOLDER of reviews has train.tsv, dev.tsv and test.tsv, a text and a label a line (SST-2 there). Every run is a command
as a user would give it. A method's rate is the one whose first seed has the lowest validation loss; the test is
scored once for each seed and chooses nothing. What is in the JSON file is not run again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from side_by_side import ROOT

from minillm.metrics import SHARE, seed_interval
from minillm.system import write_json
from minillm.training import RunFolder

REVIEWS = {  # flags of each method, for each rate that is tried
    "full": [
        ("--learning-rate", "2e-4", "--matrix-learning-rate", "1e-3"),
        ("--learning-rate", "5e-4", "--matrix-learning-rate", "3e-3"),
    ],
    "head": [("--method", "head", "--learning-rate", rate) for rate in ("2e-3", "1e-2")],
    "lora": [("--method", "lora", "--adapter-learning-rate", rate) for rate in ("1e-3", "3e-3")],
    "bitfit": [("--method", "bitfit", "--adapter-learning-rate", rate) for rate in ("1e-3", "5e-3")],
}
INSTRUCTIONS = {
    "lora": [("--method", "lora", "--adapter-learning-rate", rate) for rate in ("3e-4", "1e-3")],
}


def run(command: list[str]) -> dict:
    """One command in a process of its own: what its metrics.json says, and the seconds of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        out, begun = Path(folder) / "run", time.perf_counter()
        whole = [sys.executable, str(ROOT / "train.py"), *command, "--out", str(out)]
        done = subprocess.run(whole, capture_output=True, text=True, env=dict(os.environ))
        if done.returncode:
            raise SystemExit(f"{' '.join(whole)} failed: {done.stderr.strip().splitlines()[-1]}")
        metrics = RunFolder(out).metrics()
    kept = ("val_loss", "accuracy", "rouge_l", "bleu", "exact_match", "trainable_parameters", "peak_memory_bytes")
    scores = {key: metrics[key] for key in (*kept, "steps", "seconds", "baselines") if key in metrics}
    return scores | {"process_seconds": round(time.perf_counter() - begun, 1)}


def measure(found: dict, json_file: Path, name: str, command: list[str], methods: dict, seeds: int) -> None:
    """Every rate with the first seed, then the best rate with the others."""
    for method, rates in methods.items():
        for rate in rates:
            once(found, json_file, f"{name} {method} {' '.join(rate)} 0", [*command, *rate, "--seed", "0"])
        best = min(rates, key=lambda rate: found[f"{name} {method} {' '.join(rate)} 0"]["val_loss"])
        for seed in range(1, seeds):
            key = f"{name} {method} {' '.join(best)} {seed}"
            once(found, json_file, key, [*command, *best, "--seed", str(seed)])


def once(found: dict, json_file: Path, key: str, command: list[str]) -> None:
    """Run what is not there, and keep it at once."""
    if key not in found:
        found[key] = run(command)
        write_json(json_file, found)
        print(key, {name: value for name, value in found[key].items() if name != "baselines"}, flush=True)


def table(found: dict, name: str, methods: dict, score: str) -> None:
    """A row for each method: its chosen rate, and the score of every seed."""
    print(f"| {name} | chosen | learn | {score} | seconds, whole process |\n|---|---|---|---|---|")
    for method, rates in methods.items():
        tried = {rate: found.get(f"{name} {method} {' '.join(rate)} 0") for rate in rates}
        if not all(tried.values()):
            continue
        best = min(rates, key=lambda rate: tried[rate]["val_loss"])
        rows = [row for key, row in found.items() if key.startswith(f"{name} {method} {' '.join(best)} ")]
        values = ", ".join(f"{row[score]:.3f}" for row in rows)
        mean = f"; {seed_interval([row[score] for row in rows], SHARE)}" if len(rows) > 1 else ""
        seconds = sorted(row["process_seconds"] for row in rows)
        learn = f"{rows[0]['trainable_parameters']:,}"
        print(f"| {method} | {' '.join(best)} | {learn} | {values}{mean} | {seconds[0]:.0f} to {seconds[-1]:.0f} |")
    before = next((row["baselines"] for key, row in found.items() if key.startswith(name)), {})
    print({kind: scores.get(score) for kind, scores in before.items()})


def main() -> None:
    """Run what is asked for and missing, then show all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("minilm", "reviews", "smollm2", "instructions"):
        parser.add_argument(f"--{flag}", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", default="2", help="passes over the reviews")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "real_models_tasks.json", metavar="FILE")
    parser.add_argument("--show", action="store_true", help="run nothing")
    flags = parser.parse_args()
    found = json.loads(flags.json.read_text()) if flags.json.exists() else {}
    if flags.minilm and flags.reviews and not flags.show:
        train, dev, test = (str(flags.reviews / f"{part}.tsv") for part in ("train", "dev", "test"))
        command = ["classify", "--from", str(flags.minilm), "--data", train, "--valid", dev, "--test", test]
        measure(found, flags.json, "reviews", [*command, "--epochs", flags.epochs], REVIEWS, flags.seeds)
    if flags.smollm2 and flags.instructions and not flags.show:
        command = ["sft", "--from", str(flags.smollm2), "--data", str(flags.instructions), "--epochs", "1"]
        measure(found, flags.json, "instructions", command, INSTRUCTIONS, flags.seeds)
    table(found, "reviews", REVIEWS, "accuracy")
    table(found, "instructions", INSTRUCTIONS, "rouge_l")


if __name__ == "__main__":
    main()
