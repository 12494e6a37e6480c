"""What learning one thing more costs, and what each remedy saves: the table and the picture of RESULTS.md.

    python train.py && python train.py sft
    python benchmarks/forgetting.py --json FILE --picture FILE

The model of runs/sft, which answers many kinds of questions about tales, is tuned on one kind more: a single word for
how somebody feels. Afterwards it is asked all that it could answer before. Each remedy has the same steps on the new
task, over seeds; a strength is chosen on no test, every one that was run is shown.
"""

import argparse
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from minillm import tales
from minillm.course import sft_run
from minillm.data import Mixed, Padded, Windows, chat_example, tokenize
from minillm.hub import load_model
from minillm.inference import ask, questions_of, summary
from minillm.metrics import seed_interval
from minillm.peft import train_head, train_last
from minillm.report import COLOURS, picture
from minillm.system import pick_device, seed_everything, write_json
from minillm.tales import data_file, load_documents
from minillm.text import Tokenizer
from minillm.training import (
    TrainConfig,
    causal_lm,
    ewc,
    fisher_diagonal,
    fit,
    interpolate,
    l2_sp,
    mean_loss,
    next_tokens,
    weights_of,
)

STEPS, BATCH = 120, 8  # on the new task
CONFIG = TrainConfig(steps=STEPS, learning_rate=2e-3, matrix_learning_rate=5e-3, warmup=10, eval_every=STEPS)


@dataclass
class Setting:
    """What all runs share."""

    tokenizer: Tokenizer
    before: nn.Module
    new: list[dict]
    old: list[dict]
    new_questions: list
    old_questions: list
    windows: Windows

    def batches(self, examples: list[dict], seed: int) -> Padded:
        """Batches of conversations."""
        return Padded(examples, self.tokenizer.pad_id, BATCH, seed=seed, causal=True)

    def scores(self, model: nn.Module) -> dict:
        """New task, old tasks, and the text of pre-training."""
        asked = {"new": self.new_questions, "old": self.old_questions}
        found = {name: summary(some, ask(model, self.tokenizer, some))["exact_match"] for name, some in asked.items()}
        return found | {"tales": mean_loss(model, causal_lm, self.windows, pick_device("cpu", "fp32"))}


def setting() -> Setting:
    """The tuned model, the tasks, and what is asked."""
    run = sft_run()
    tokenizer = Tokenizer.load(run.path / "tokenizer.json")
    old = [json.loads(line) for line in open(data_file("instructions_train.jsonl"), encoding="utf-8")]
    test = [json.loads(line) for line in open(data_file("instructions_test.jsonl"), encoding="utf-8")]
    new = tales.make_instructions(1150, 90, ("sentiment",))
    make = lambda some: [chat_example(one["messages"], tokenizer, 256) for one in some]  # noqa: E731
    tokens = tokenize(load_documents("tales_valid.txt")[:200], tokenizer)
    return Setting(
        tokenizer,
        load_model(run.path),
        make(new[:1000]),
        make(old),
        questions_of(new[1000:]),
        questions_of(test)[:300],
        Windows(tokens, 256, 16),
    )


def remedies(s: Setting) -> dict[str, Callable[[int], nn.Module]]:
    """What is tried: a name, and a function from a seed to a tuned model."""
    start = weights_of(s.before)
    rows = s.batches(s.old[:200], 0)
    generator = torch.Generator().manual_seed(0)
    fishers = {"drawn": fisher_diagonal(s.before, next_tokens, rows, generator)}
    fishers["of the data"] = fisher_diagonal(s.before, next_tokens, rows)

    def tuned(seed: int, loss=causal_lm, batches=None, config=CONFIG, prepare=None) -> nn.Module:
        seed_everything(seed)
        model = copy.deepcopy(s.before)
        if prepare is not None:
            prepare(model)
        if fit(model, loss, batches or s.batches(s.new, seed), config, progress=False).stopped:
            raise SystemExit("stopped: nothing is kept")
        return model

    def mixed(seed: int, share: float) -> nn.Module:
        """The same steps on the new task, and as many of the old in addition as make up `share`."""
        both = Mixed([s.batches(s.new, seed), s.batches(s.old, seed)], [1 - share, share], seed)
        steps = round(STEPS / (1 - share))
        return tuned(seed, batches=both, config=replace(CONFIG, steps=steps, eval_every=steps))

    def slower(seed: int, factor: float) -> nn.Module:
        rates = {name: getattr(CONFIG, name) * factor for name in ("learning_rate", "matrix_learning_rate")}
        return tuned(seed, config=replace(CONFIG, **rates))

    def averaged(seed: int, share: float) -> nn.Module:
        after = tuned(seed)
        after.load_state_dict(interpolate(s.before.state_dict(), after.state_dict(), share))
        return after

    found = {"nothing": tuned, "all tasks together, half and half": lambda seed: mixed(seed, 0.5)}
    found |= {f"rehearsal, {share:.0%} old": lambda seed, x=share: mixed(seed, x) for share in (0.05, 0.2)}
    found |= {f"rates x {x}": lambda seed, x=x: slower(seed, x) for x in (0.3,)}
    found |= {f"L2-SP {x}": lambda seed, x=x: tuned(seed, l2_sp(causal_lm, start, x)) for x in (0.001, 0.01, 0.1)}
    for x, kind in ((0.1, "drawn"), (1.0, "drawn"), (10.0, "drawn"), (1.0, "of the data")):
        found[f"EWC {x:g}, labels {kind}"] = lambda seed, x=x, f=fishers[kind]: tuned(seed, ewc(causal_lm, start, f, x))
    found["last layer only"] = lambda seed: tuned(seed, prepare=lambda model: train_last(model, 1))
    found["output layer only"] = lambda seed: tuned(seed, prepare=train_head)
    found |= {f"average, {x:.0%} new": lambda seed, x=x: averaged(seed, x) for x in (0.5, 0.7)}
    return found


FAMILIES = {"nothing": "X", "all tasks": "s", "rehearsal": "s", "rates": "v", "L2-SP": "o", "EWC": "D"}
FAMILIES |= {"last layer": "P", "output layer": "P", "average": "*"}


def draw(rows: dict, before: dict, path: Path) -> None:
    """New-task score against old-task score: a small mark for each seed, a large one for their mean."""
    with picture(path, figsize=(8, 5)) as ax:
        for number, (name, row) in enumerate(rows.items()):
            place = next(place for place, family in enumerate(FAMILIES) if name.startswith(family))
            marker = [*FAMILIES.values()][place]
            colour = COLOURS[place % len(COLOURS)]
            runs = [(run["old"], run["new"]) for run in row["runs"]]
            ax.scatter(*zip(*runs), s=12, marker=marker, color=colour, alpha=0.6)
            mean = row["old"]["mean"], row["new"]["mean"]
            ax.scatter(*mean, s=70, marker=marker, color=colour, edgecolor="black", linewidth=0.5)
            # Most remedies lie on one line, so their names stand below it in steps, each tied to its mark.
            below = (mean[0], 0.78 - 0.055 * (number % 12)) if mean[1] > 0.8 else (mean[0], mean[1] - 0.06)
            ax.annotate(
                name, mean, below, fontsize=7, ha="center", color="black",
                arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 4},
            )  # fmt: skip
        ax.axvline(before["old"], linestyle=":", color="grey")
        ax.annotate("before", (before["old"], 0.02), fontsize=7, ha="right", rotation=90)
        ax.set(xlabel="old tasks, exact match", ylabel="new task, exact match", xlim=(0.15, 1.05), ylim=(0, 1))


def main() -> None:
    """Run every remedy on every seed, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="at least two")
    parser.add_argument("--only", nargs="+", help="remedies whose name begins so")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--draw", type=Path, help="a JSON file of an earlier run: draw it again, and run nothing")
    flags = parser.parse_args()
    if flags.draw:
        found = json.loads(flags.draw.read_text(encoding="utf-8"))
        return draw(found["remedies"], found["before"], flags.picture)
    s = setting()
    before = s.scores(s.before)
    print("before:", before)
    rows = {}
    for name, tune in remedies(s).items():
        if flags.only and not any(name.startswith(start) for start in flags.only):
            continue
        runs = [s.scores(tune(seed)) for seed in flags.seeds]
        rows[name] = {"runs": runs}
        for key in runs[0]:
            values = [run[key] for run in runs]
            rows[name][key] = seed_interval(values)._asdict()
        print(name, {key: [round(run[key], 3) for run in runs] for key in runs[0]}, flush=True)
    if flags.json:
        write_json(flags.json, {"before": before, "steps": STEPS, "batch": BATCH, "remedies": rows})
    if flags.picture:
        draw(rows, before, flags.picture)


if __name__ == "__main__":
    main()
