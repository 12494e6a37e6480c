"""What each way of tuning learns and what it keeps, over its learning rates: the picture of lesson 20.

    python benchmarks/peft_rates.py --json benchmarks/peft_rates.json --picture benchmarks/peft_rates.png
    python benchmarks/peft_rates.py --json FILE --only full lora --seeds 0        some of it
    python benchmarks/peft_rates.py --json FILE --draw --picture FILE             what is there already

The same number of rates for every method: its default rate times each factor. The same steps on the same examples in
the same order (the question of peft_methods.py: one kind more for the model that answers). "full-adamw" is full tuning
with the optimizer of the adapters. Measured after each run: the share of right answers of the new kind, of the old
kinds, and the loss on tales. Every run is written as soon as it has ended, and a run that is there is not made again.

Nothing is chosen here. Who compares two methods picks the rate of each on the same thing, or compares at an equal new
score, as `kept_at` does.
"""

import argparse
import copy
import json
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from forgetting import CONFIG, Setting, setting
from peft_methods import ASKED, COMPARED, ROOM, TASKS, tuned
from tqdm import tqdm

from minillm.cli import MethodSettings, prepare
from minillm.data import Windows
from minillm.report import COLOURS, picture
from minillm.system import seed_everything, write_json
from minillm.training import causal_lm

FACTORS = (0.03, 0.1, 0.3, 1.0, 3.0)  # of the default rate
ADAMW = "full-adamw"
FULL_RATE = 5e-4  # of full tuning with AdamW; the factors go round it
METHODS = (*COMPARED, ADAMW)


def run(s: Setting, method: str, factor: float, seed: int) -> dict:
    """What one run learned and kept."""
    seed_everything(seed)
    own = "full" if method == ADAMW else method
    prepared = prepare(copy.deepcopy(s.before), MethodSettings(method=own), s.tokenizer, seed)
    steps = TASKS["question"][0]
    config = replace(CONFIG, steps=steps, eval_every=steps)
    if prepared.adapter or method == ADAMW:
        rate = (prepared.rate if prepared.adapter else FULL_RATE) * factor
        config = replace(config, optimizer="adamw", learning_rate=rate)
    else:
        rate = config.learning_rate * factor
        matrices = config.matrix_learning_rate * factor
        config = replace(config, learning_rate=rate, matrix_learning_rate=matrices)
    with tempfile.TemporaryDirectory() as folder:
        model, _ = tuned(prepared, causal_lm, s.batches(s.new, seed), config, Path(folder))
    return {"rate": rate, **s.scores(model)}


def kept_at(runs: list[dict], level: float, key: str = "old") -> list[float]:
    """What each seed of a method keeps where its new score is `level`, on lines between its rates by score.

    A seed that never reaches the level is left out.
    """
    found = []
    for seed in sorted({one["seed"] for one in runs}):
        points = sorted((one["new"], one[key]) for one in runs if one["seed"] == seed)
        new, kept = zip(*points)
        if new[0] <= level <= new[-1]:
            found.append(float(np.interp(level, new, kept)))
    return found


def measure(found: dict, flags: argparse.Namespace) -> None:
    """Run what `found` lacks, and write every run as soon as it has ended."""
    s = setting()
    windows = Windows(s.windows.tokens, ROOM, s.windows.batch_size)
    s = replace(s, old_questions=s.old_questions[:ASKED], windows=windows)
    found.setdefault("before", s.scores(s.before))
    done = {(one["method"], one["factor"], one["seed"]) for one in found["runs"]}
    work = [key for key in product(flags.only or METHODS, FACTORS, flags.seeds) if key not in done]
    for method, factor, seed in tqdm(work, desc="runs"):
        one = {"method": method, "factor": factor, "seed": seed}
        found["runs"].append(one | run(s, method, factor, seed))
        write_json(flags.json, found)


def draw(found: dict, path: Path) -> None:
    """New score against what is kept, a line over the rates for each method: answers of old kinds, loss on tales."""
    with picture(path, (1, 2), figsize=(10.5, 4.6)) as axes:
        for ax, key in zip(axes, ("old", "tales")):
            for number, method in enumerate(dict.fromkeys(one["method"] for one in found["runs"])):
                rows = [one for one in found["runs"] if one["method"] == method]
                means = [[one for one in rows if one["factor"] == factor] for factor in FACTORS]
                line = [[np.mean([one[name] for one in some]) for name in (key, "new")] for some in means if some]
                look = {"color": COLOURS[number % 6], "linestyle": ("-", "--", ":")[number // 6 % 3]}
                ax.plot(*zip(*line), marker="osD^vPX*<>hp"[number % 12], markersize=4, label=method, **look)
            ax.axvline(found["before"][key], color="grey", linestyle=":")
            ax.set_xlabel("old kinds, exact match" if key == "old" else "loss on tales (nats per token)")
        axes[0].set_ylabel("new kind, exact match")
        axes[1].legend(fontsize=7, ncols=2)


def main() -> None:
    """Measure every method at every rate, print what is kept at equal new scores, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=METHODS, help="methods")
    parser.add_argument("--json", type=Path, required=True, help="write every run here, and go on from there")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--draw", action="store_true", help="run nothing")
    flags = parser.parse_args()
    found = json.loads(flags.json.read_text(encoding="utf-8")) if flags.json.exists() else {"runs": []}
    if not flags.draw:
        measure(found, flags)
    for method in dict.fromkeys(one["method"] for one in found["runs"]):
        rows = [one for one in found["runs"] if one["method"] == method]
        scores = [[one["new"] for one in rows if one["factor"] == factor] for factor in FACTORS]
        best = max(np.mean(some) for some in scores if some)
        kept = {level: kept_at(rows, level) for level in (0.75, 0.85)}
        print(f"{method:14} best new {best:.2f};", *(f"at {k}: kept {np.round(v, 2)}" for k, v in kept.items()))
    if flags.picture:
        draw(found, flags.picture)


if __name__ == "__main__":
    main()
