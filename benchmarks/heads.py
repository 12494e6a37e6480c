"""Five tasks on the tales, each from a pre-trained encoder and from scratch, beside their baselines: lesson 12.

    python benchmarks/heads.py --json benchmarks/heads.json     goes on where an earlier run has ended

One run each, with the default settings of its command, in fp32. Intervals are over the texts of the test: Wilson's of a
share, a bootstrap of an F1, Fisher's of a rank correlation.
"""

import argparse
import json
import math
import tempfile
from pathlib import Path

from minillm.cli import main as minillm
from minillm.course import mlm_run
from minillm.metrics import bootstrap_interval, confusion_matrix, entity_spans, share_interval
from minillm.system import write_json

TASKS = {  # name: command, the score, and what the baselines are called in its metrics
    "sentiment": (["classify"], "accuracy", ("majority class", "bag of words")),
    "entailment": (["pair"], "accuracy", ("majority class", "bag of words")),
    "next_sentence": (["pair", "--task", "next_sentence"], "accuracy", ("majority class", "bag of words")),
    "tags": (["tag"], "f1", (None, "commonest tag")),
    "paraphrases": (["encode"], "spearman", (None, "bag of words")),
}
STARTS = {"pre-trained": lambda: ["--from", str(mlm_run().path)], "scratch": list}


def interval(task: str, score: float, n: int, rows: list[dict]) -> tuple[float, float]:
    """The ends of the 95 % interval of a score over n texts of the test. rows: what the run predicted."""
    if TASKS[task][1] == "accuracy":
        return share_interval(score * n, n)[1:]
    if TASKS[task][1] == "f1" and rows:
        spans = [[entity_spans(row[side]) for side in ("tags", "predicted")] for row in rows]
        counts = [(len(own & found), len(own) + len(found)) for own, found in spans]
        return bootstrap_interval(counts, 500, score=lambda some: (2 * some[:, 0].sum() / some[:, 1].sum()).item())[1:]
    if not score:
        return 0.0, 0.0
    reach = 1.96 * math.sqrt((1 + score**2 / 2) / (n - 3))  # Bonett & Wright 2000
    return math.tanh(math.atanh(score) - reach), math.tanh(math.atanh(score) + reach)


def measure(task: str, start: str) -> list[dict]:
    """The scores of one run, and from scratch those of the baselines too."""
    command, key, baselines = TASKS[task]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        if minillm([*command, *STARTS[start](), "--dtype", "fp32", "--out", str(out)]):
            raise SystemExit(f"{task} {start}: the command failed")
        metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        said = out / "predictions.jsonl"
        rows = [json.loads(line) for line in said.read_text(encoding="utf-8").splitlines()] if said.is_file() else []
    n, found = len(rows) or 500, {start: (metrics[key], rows)}
    if start == "scratch":
        for name, theirs in zip(("majority", "words"), baselines):
            found[name] = (metrics["baselines"][theirs][key] if theirs else 0.0, [])
    made = []
    for name, (score, own) in found.items():
        low, high = interval(task, score, n, own)
        made.append({"task": task, "start": name, "score": score, "low": low, "high": high, "texts": n})
    made[0]["seconds"] = metrics["seconds"]
    if task == "entailment":
        names = list(dict.fromkeys(row["label"] for row in sorted(rows, key=lambda row: row["label"])))
        pairs = [[names.index(row[side]) for row in rows] for side in ("label", "predicted")]
        made[0]["confusion"] = confusion_matrix(*pairs, len(names)).tolist()
    return made


def main() -> None:
    """Run what the file lacks, and write each run as soon as it has ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    path = parser.parse_args().json
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"runs": []}
    for task in TASKS:
        for start in STARTS:
            if not any((run["task"], run["start"]) == (task, start) and "seconds" in run for run in found["runs"]):
                new = measure(task, start)
                names = {run["start"] for run in new}
                found["runs"] = [r for r in found["runs"] if not (r["task"] == task and r["start"] in names)] + new
                write_json(path, found)
                print(*new, sep="\n", flush=True)


if __name__ == "__main__":
    main()
