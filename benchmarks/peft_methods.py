"""Tuning all of a model, a part of it, or an adapter on it: the tables and the picture of RESULTS.md.

    python train.py && python train.py sft && python train.py mlm
    python benchmarks/peft_methods.py --json FILE --picture FILE
    python benchmarks/peft_methods.py --draw FILE --picture FILE         the tables and the picture of an earlier run

Every method with its default settings, and for each the same steps on the same examples in the same order:

    question    one kind of question more, for the model of runs/sft that answers twelve (as in forgetting.py)
    sentiment   how tales end, for the encoder of runs/mlm; on it stands a new head, which every method trains too

Both with all examples and with 50, over seeds. The last weights are kept, so nothing is chosen by a score.
"""

import argparse
import copy
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from forgetting import CONFIG, STEPS, Setting, setting
from torch import nn
from tqdm import tqdm

from minillm import peft
from minillm.cli import METHODS, Classify, ClassifySettings, MethodSettings, Prepared, build, prepare
from minillm.course import mlm_run
from minillm.data import Batches, Windows
from minillm.metrics import accuracy
from minillm.report import COLOURS, picture
from minillm.system import pick_device, seed_everything, write_json
from minillm.training import LossFunction, RunFolder, TrainConfig, causal_lm, classification, fit

FEW = 50  # examples
COMPARED = tuple(method for method in METHODS if method != "norm")  # the norms of these models have nothing to learn
TASKS = {"question": {0: STEPS, FEW: 60}, "sentiment": {0: 150, FEW: 50}}  # steps, with all examples (0) and with few
ASKED = 100  # questions of the old kinds
ROOM = 224  # tokens of a tale that fit behind a prompt


def tuned(
    prepared: Prepared, loss: LossFunction, batches: Batches, config: TrainConfig, folder: Path
) -> tuple[nn.Module, dict]:
    """The tuned model, and what it cost: the share that learned, bytes on disk, seconds of a core for a step."""
    model = prepared.model
    learns, there = (sum(p.numel() for p in model.parameters() if p.requires_grad or every) for every in (False, True))
    begun = time.process_time()  # not the clock: the machine has other work
    objective, after_step = prepared.objective(loss), prepared.after_step(config.steps)
    history = fit(model, objective, batches, config, after_step=after_step, progress=False)
    if history.stopped:
        raise SystemExit("stopped: the runs that have ended are kept")
    seconds = (time.process_time() - begun) / config.steps
    run = peft.AdapterRun(folder, prepared.adapter) if prepared.adapter else RunFolder(folder)
    run.save_model(peft.simplify(model))
    return model, {
        "share": learns / there,
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "seconds_a_step": seconds,
    }


def question(s: Setting, method: str, examples: int, seed: int, folder: Path) -> dict:
    """One kind of question more: right answers of the new kind and of the old ones, and the loss on tales."""
    seed_everything(seed)
    prepared = prepare(copy.deepcopy(s.before), MethodSettings(method=method), s.tokenizer, seed)
    steps = TASKS["question"][examples]
    config = replace(CONFIG, steps=steps, eval_every=steps)
    if prepared.adapter:
        config = replace(config, optimizer="adamw", learning_rate=prepared.rate)
    batches = s.batches(s.new[: examples or None], seed)
    model, cost = tuned(prepared, causal_lm, batches, config, folder)
    if prepared.adapter:
        ids = torch.tensor(s.old[0]["input_ids"])[None]
        with peft.switched_off(model), torch.no_grad():
            assert torch.equal(model(ids), s.before(ids)), f"{method}: switched off, it is not the model as before"
    return s.scores(model) | cost


def sentiment(method: str, examples: int, seed: int, folder: Path) -> dict:
    """How a tale ends: the accuracy on those of the test."""
    seed_everything(seed)
    settings = build(
        ClassifySettings,
        {"method": method, "from_": mlm_run().path, "examples": examples, "seed": seed, "context": 256}
        | {"max_steps": TASKS["sentiment"][examples]},
    )
    task = Classify(settings, RunFolder(folder), pick_device("cpu", "fp32"), {})
    task.read()
    task.build()
    task.prepare()
    task.model, cost = tuned(task.prepared, classification, task.batches, task.config, folder)
    truth = [example["labels"] for example in task.test_examples]
    outputs = task.answers()
    return {"accuracy": accuracy(truth, [int(logits.argmax()) for logits in outputs])} | cost


def measure(found: dict, flags: argparse.Namespace) -> None:
    """Run what `found` lacks, and write every run as soon as it has ended."""
    s = setting()
    windows = Windows(s.windows.tokens, ROOM, s.windows.batch_size)
    s = replace(s, old_questions=s.old_questions[:ASKED], windows=windows)
    found.setdefault("before", s.scores(s.before))
    work = [
        {"task": task, "method": method, "examples": examples, "seed": seed}
        for examples in (0, FEW)
        for seed in flags.seeds
        for task in flags.tasks
        for method in flags.only or COMPARED
    ]
    done = [{key: run[key] for key in work[0]} for run in found["runs"]]
    for one in tqdm([one for one in work if one not in done], desc="runs"):
        with tempfile.TemporaryDirectory() as folder:
            how = (one["method"], one["examples"], one["seed"], Path(folder))
            scores = question(s, *how) if one["task"] == "question" else sentiment(*how)
        found["runs"].append(one | scores)
        if flags.json:
            write_json(flags.json, found)


def values(found: dict, method: str, key: str, **which) -> list[float]:
    """One column of one method, a value for each seed."""
    asked = which | {"method": method}
    return [run[key] for run in found["runs"] if key in run and all(run[name] == v for name, v in asked.items())]


def mean(numbers: list[float]) -> float:
    """The mean of one column."""
    return sum(numbers) / len(numbers)


def spread(numbers: list[float], form: str = ".3f") -> str:
    """The mean, with the worst and the best seed."""
    return f"{mean(numbers):{form}} ({min(numbers):.2f} to {max(numbers):.2f})"


def tables(found: dict) -> None:
    """Both tables of RESULTS.md: scores, and what they cost."""
    methods = dict.fromkeys(run["method"] for run in found["runs"])
    few = f"| new kind, {FEW} | old kinds, {FEW} | sentiment, 3000 | sentiment, {FEW} |"
    print(f"| | new kind, 1000 | old kinds, 1000 | loss on tales, 1000 {few}")
    print("|---" * 8 + "|")
    for method in methods:
        cells = []
        for examples in (0, FEW):
            keys = ("new", "old", "tales")[: 2 if examples else 3]
            cells += [spread(values(found, method, key, task="question", examples=examples)) for key in keys]
        cells += [spread(values(found, method, "accuracy", task="sentiment", examples=n)) for n in (0, FEW)]
        print(f"| {method} | " + " | ".join(cells) + " |")
    print("| | learns | bytes | ms a step: question | sentiment |\n" + "|---" * 5 + "|")
    for method in methods:
        share, size = (mean(values(found, method, key, task="question")) for key in ("share", "bytes"))
        steps = (sorted(values(found, method, "seconds_a_step", task=task)) for task in TASKS)
        cells = [f"{share:.2%}", f"{size:,.0f}", *(f"{1000 * some[len(some) // 2]:.0f}" for some in steps)]
        print(f"| {method} | " + " | ".join(cells) + " |")


MARKS = {"full": "X", "head": "P", "last": "P", "lora": "o", "adalora": "o", "adapter": "o"}
MARKS |= {"prompt": "s", "ptuning": "s", "prefix": "^", "llama_adapter": "^", "ia3": "D", "bitfit": "D"}


def name_points(ax, points: dict[str, tuple[float, float]], gap: float = 0.045) -> None:
    """Write each name to the right of its point, as high as it is or below the one before, and tie it to it."""
    lowest = float("inf")
    for method, (x, y) in sorted(points.items(), key=lambda item: -item[1][1]):
        lowest = min(y, lowest - gap)
        across, up = ax.transData.transform((x, y))
        place = ax.transData.inverted().transform((across + 22, up))
        ax.annotate(
            method, (x, y), (place[0], lowest), fontsize=7, va="center",
            arrowprops={"arrowstyle": "-", "color": "grey", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 4},
        )  # fmt: skip


def draw(found: dict, path: Path) -> None:
    """New kind against old kinds, and both tasks against the share that learns; with all examples."""
    order, kept_points, small_points = list(dict.fromkeys(MARKS.values())), {}, {}
    with picture(path, figsize=(10.5, 4.6)) as ax:
        figure = ax.figure
        ax.remove()
        kept, small = figure.subplots(1, 2)
        kept.set(xlabel="old kinds, exact match", ylabel="new kind, exact match", xlim=(-0.05, 1.05), ylim=(0, 1))
        small.set(xlabel="share of the parameters that learns", ylabel="new kind (filled), sentiment (open)")
        small.set(xscale="log", xlim=(1e-3, 3), ylim=(0.2, 1.03))
        for method in dict.fromkeys(run["method"] for run in found["runs"]):
            new, old, share = (
                values(found, method, key, task="question", examples=0) for key in ("new", "old", "share")
            )
            right = mean(values(found, method, "accuracy", task="sentiment", examples=0))
            look = {"marker": MARKS[method], "color": COLOURS[order.index(MARKS[method])]}
            kept.scatter(old, new, s=10, alpha=0.5, **look)
            kept.scatter(mean(old), mean(new), s=60, edgecolor="black", linewidth=0.5, **look)
            small.scatter(mean(share), mean(new), s=60, edgecolor="black", linewidth=0.5, **look)
            small.scatter(mean(share), right, s=40, facecolor="white", edgecolor=look["color"], marker=look["marker"])
            kept_points[method], small_points[method] = (mean(old), mean(new)), (mean(share), mean(new))
        kept.axvline(found["before"]["old"], linestyle=":", color="grey")
        small.axhline(0.5, linestyle=":", color="grey")
        small.annotate("chance, sentiment", (1e-3, 0.5), (4, -9), textcoords="offset points", fontsize=7, color="grey")
        for far in (True, False):
            name_points(kept, {method: p for method, p in kept_points.items() if (p[0] > 0.5) == far})
            name_points(small, {method: p for method, p in small_points.items() if (p[0] > 0.1) == far})


def main() -> None:
    """Measure every method, print the tables and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", choices=tuple(TASKS), default=list(TASKS))
    parser.add_argument("--only", nargs="+", choices=COMPARED, help="methods")
    parser.add_argument("--json", type=Path, help="write every run here, and go on from there")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--draw", type=Path, help="a JSON file of an earlier run: draw it again, and run nothing")
    flags = parser.parse_args()
    earlier = flags.draw or flags.json
    found = json.loads(earlier.read_text(encoding="utf-8")) if earlier and earlier.exists() else {"runs": []}
    if not flags.draw:
        measure(found, flags)
    tables(found)
    if flags.picture:
        draw(found, flags.picture)


if __name__ == "__main__":
    main()
