"""How many labels does pre-training save? Accuracy against the number of labelled examples, from scratch and tuned.

    python benchmarks/label_efficiency.py                  how the tales end: encoder, decoder, LSTM; three seeds
    python benchmarks/label_efficiency.py --task entailment --trunks encoder
    python benchmarks/label_efficiency.py --json FILE --picture FILE

Each run is `train.py classify` or `train.py pair` as a user would call it. A model from scratch has the shape and the
tokenizer of the pre-trained one beside it. Of each run the best of ten evaluations is kept, by the loss on the 200
validation examples of the tales, whatever the number of examples to learn from. (Howard & Ruder 2018, figure 3.)
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from side_by_side import ROOT
from tqdm import tqdm

from minillm.course import default_run, lstm_run, mlm_run
from minillm.report import picture
from minillm.system import to_json, write_text
from minillm.tales import data_file

RUNS = {"lstm": lstm_run, "decoder": default_run, "encoder": mlm_run}
BUDGETS = (10, 100, 300, 1000, 0)  # 0: all
STAGES = {"sentiment": ["classify"], "entailment": ["pair"], "next_sentence": ["pair", "--task", "next_sentence"]}
CHANCE = {"sentiment": 1 / 2, "entailment": 1 / 3, "next_sentence": 1 / 2}


def start(trunk: str, tuned: bool) -> list[str]:
    """The flags of a run that begins with the pre-trained model, or with a new one like it."""
    run = RUNS[trunk]()
    if tuned:
        return ["--from", str(run.path)]
    shape = run.config()["model"]
    size = ["--depth", str(shape["layers"]), "--width", str(shape["width"]), "--heads", str(shape.get("heads", 1))]
    return ["--trunk", trunk, *size, "--tokenizer", str(run.path / "tokenizer.json")]


def measure(task: str, trunk: str, tuned: bool, examples: int, seed: int) -> dict:
    """One run in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, str(ROOT / "train.py"), *STAGES[task], *start(trunk, tuned)]
        command += ["--examples", str(examples), "--seed", str(seed), "--out", str(out)]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(f"{' '.join(command)} failed: {run.stderr.strip().splitlines()[-1]}")
        metrics = json.loads((out / "metrics.json").read_text())
    return {
        "task": task, "trunk": trunk, "tuned": tuned, "examples": examples, "seed": seed,
        "accuracy": metrics["accuracy"], "seconds": metrics["seconds"],
        "bag_of_words": metrics["baselines"]["bag of words"]["accuracy"],
    }  # fmt: skip


def table(results: list[dict], task: str, sizes: dict[int, int]) -> dict[str, list[tuple]]:
    """The mean accuracy by trunk and start at each number of examples, with the worst and the best seed; printed."""
    curves = {}
    for trunk, tuned in dict.fromkeys((r["trunk"], r["tuned"]) for r in results):
        rows = []
        for budget, size in sizes.items():
            values = [
                r["accuracy"] for r in results if (r["trunk"], r["tuned"], r["examples"]) == (trunk, tuned, budget)
            ]
            if values:  # a file may hold runs of other trunks at other sizes
                rows.append((size, sum(values) / len(values), min(values), max(values)))
        curves[f"{trunk}, {'pre-trained' if tuned else 'from scratch'}"] = rows
    words = [
        (size, *3 * (sum(own) / len(own),))
        for budget, size in sizes.items()
        if (own := [r["bag_of_words"] for r in results if r["examples"] == budget])
    ]
    curves["bag of words"] = words
    print(f"| {task}: accuracy with | " + " | ".join(map(str, sizes.values())) + " examples |")
    print("|---" * (len(sizes) + 1) + "|")
    for name, rows in curves.items():
        found = {size: f"{mean:.3f} ({low:.2f} to {high:.2f})" for size, mean, low, high in rows}
        cells = (found.get(size, "") for size in sizes.values())
        print(f"| {name} | " + " | ".join(cells) + " |")
    return curves


def draw(curves: dict[str, list[tuple]], task: str, path: Path) -> None:
    """Accuracy by number of examples, a line for each start."""
    marks = {"lstm": "s", "decoder": "o", "encoder": "^"}
    with picture(path, figsize=(7.5, 4.2)) as ax:
        for name, rows in curves.items():
            sizes, means, lows, highs = zip(*rows)
            line = ":" if name == "bag of words" else "--" if "scratch" in name else "-"
            ax.plot(sizes, means, line, marker=marks.get(name.split(",")[0], ""), label=name)
            ax.fill_between(sizes, lows, highs, alpha=0.12)
        ax.axhline(CHANCE[task], color="0.6", linewidth=1)
        ax.set(xscale="log", ylim=(None, 1.01), xlabel="labelled examples", ylabel=f"accuracy on {task}, test part")
        ax.legend(fontsize=8)


def main() -> None:
    """Run all, print the table, write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=tuple(STAGES), default="sentiment")
    parser.add_argument("--trunks", nargs="+", choices=tuple(RUNS), default=list(RUNS))
    parser.add_argument("--budgets", nargs="+", type=int, default=list(BUDGETS), help="examples; 0: all of them")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run to FILE, and go on from there")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the curves into FILE")
    flags = parser.parse_args()
    all_examples = sum(1 for _ in open(data_file(f"{flags.task}_train.jsonl")))
    work = [
        (trunk, tuned, budget, seed)
        for seed in range(flags.seeds)
        for budget in flags.budgets
        for trunk in flags.trunks
        for tuned in (False, True)
    ]
    for trunk in flags.trunks:
        RUNS[trunk]()
    results = json.loads(flags.json.read_text()) if flags.json and flags.json.exists() else []
    done = {tuple(r[name] for name in ("task", "trunk", "tuned", "examples", "seed")) for r in results}
    for one in tqdm([one for one in work if (flags.task, *one) not in done], desc="runs"):
        results.append(measure(flags.task, *one))
        if flags.json:
            write_text(flags.json, to_json(results, indent=1) + "\n")
    results = [r for r in results if r["task"] == flags.task]
    curves = table(results, flags.task, {budget: budget or all_examples for budget in flags.budgets})
    if flags.picture:
        draw(curves, flags.task, flags.picture)


if __name__ == "__main__":
    main()
