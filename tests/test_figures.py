"""README's figures are those that its benchmarks have stored."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPEN = ("", "continue", "summary")  # all questions together; kinds that have several right answers


def sft_runs() -> list[dict]:
    stored = json.loads((ROOT / "benchmarks" / "robustness.json").read_text())
    return [row for key, row in stored.items() if key.startswith("sft ")]


def shown(row: str) -> tuple[float, float]:
    """The two ends in the first column of figures of the row of README that begins so."""
    low, high = re.search(rf"^\| {row}.*? \| ([\d.]+) to ([\d.]+) \|", README, re.M).groups()
    return float(low), float(high)


def test_readme_s_worst_and_best_answers_are_those_of_every_stored_run():
    runs = sft_runs()
    assert int(re.search(r"worst to best of (\d+) runs", README)[1]) == len(runs) >= 10
    scores = [run["exact_match"] for run in runs]
    assert shown("exact match") == (round(min(scores), 3), round(max(scores), 3))
    hardest = [min(row["right"] for kind, row in run["kinds"].items() if kind not in OPEN) for run in runs]
    assert shown("the hardest kind") == (round(min(hardest), 2), round(max(hardest), 2))
    summaries = [run["kinds"]["summary"]["rouge_l"] for run in runs]
    assert shown("a summary") == (round(min(summaries), 2), round(max(summaries), 2))


def test_no_kind_of_question_is_left_unlearned_in_any_stored_run():
    for run in sft_runs():
        assert min(row["right"] for kind, row in run["kinds"].items() if kind not in OPEN) >= 0.85
        assert run["exact_match"] >= 0.96
