"""What `--depth` makes of a machine, and where the memory of GPT-2's size goes: computed, nothing is trained.

    python benchmarks/plans.py --json benchmarks/plans.json

Three tables: every number that follows from the depth, on a CPU and on a GPU of 80 GB, with as much text as is asked
for; the runs of README's recipes on cards of 24 and 80 GB; the memory of a step of 124 million parameters by batch,
with and without recomputation and the loss by parts (a test compares the same sum with what small models really take).

Seconds are operations over a rate that is assumed, not measured: of a card's products in bf16 (its data sheet) 35 %,
which small models do not reach, and never less than 6 microseconds for each operation of torch that is launched
(`launches.py` counts 112 a step, and 97 a layer and micro-batch).
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import torch
from side_by_side import ROOT  # noqa: F401  finds minillm

from minillm.cli import build, depth, memory, plan, pretrain
from minillm.models import Decoder, ModelConfig
from minillm.system import Compute, duration
from minillm.training import recompute

DEPTHS = (1, 2, 4, 6, 12, 24)
ENOUGH = 10**12  # tokens of a text that is never short
LAUNCHES, LAUNCHES_OF_LAYER, LAUNCH = 112, 97, 6e-6  # of a step; of a layer; seconds of one
BATCHES = (1, 4, 8, 16, 32, 64)  # windows of 1,024


class Card(NamedTuple):
    """A device that is not here."""

    name: str
    kind: str
    bytes: float
    rate: float  # products a second, in bf16
    share: float  # of it that training reaches


CPU = Card("2 cores, 24 GB", "cpu", 24e9, 400e9, 0.45)
LARGE = Card("80 GB (A100)", "cuda", 80e9, 312e12, 0.35)
SMALL = Card("24 GB (RTX 4090)", "cuda", 24e9, 165e12, 0.35)


def compute_of(card: Card) -> Compute:
    """The card as a place to compute."""

    class There(Compute):
        def total_memory(self) -> float:
            return card.bytes

    return There(torch.device(card.kind), torch.bfloat16)


def planned(card: Card, text: int, vocab_size: int, **flags) -> plan.Plan | str:
    """The plan of pretrain with these flags; a sentence where it does not fit."""
    compute, asked = compute_of(card), build(pretrain.PretrainSettings, flags)
    settings = depth.follow_depth(asked, card.kind)
    try:
        plan.check_fits(settings, asked, pretrain.new_model, vocab_size, compute)
    except ValueError as error:
        return str(error)
    return plan.plan(settings, plan.on_paper(pretrain.new_model, settings, vocab_size), text, compute)


def seconds(run: plan.Plan, card: Card) -> float:
    """How long it would take there."""
    training, layers = run.settings.training, run.settings.size.depth
    launched = (LAUNCHES + LAUNCHES_OF_LAYER * layers * training.accumulate) * LAUNCH * (card.kind == "cuda")
    step = run.operations / training.max_steps / (card.rate * card.share)
    return training.max_steps * max(step, launched)


def row(run: plan.Plan, card: Card) -> dict:
    """The numbers of a plan."""
    size, training = run.settings.size, run.settings.training
    matrices = sum(p.numel() for p in memory.hidden_matrices(run.model))
    return {
        "depth": size.depth,
        "width": size.width,
        "context": size.context,
        "batch": f"{training.accumulate} x {training.batch_size}",
        "tokens a step": run.batch,
        "steps": training.max_steps,
        "rates": f"{training.learning_rate:.4f}, {training.matrix_learning_rate:.4f}",
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "tokens": run.tokens,
        "tokens a matrix parameter": run.tokens / matrices,
        "memory": run.memory.total,
        "operations": run.operations,
        "seconds": seconds(run, card),
    }


def show(rows: list[dict]) -> None:
    """A table in Markdown."""
    write = {
        "memory": lambda n: f"{n / 1e9:.2g} GB" if n < 9.5e9 else f"{n / 1e9:.0f} GB",
        "operations": lambda n: f"{n:.1e}",
        "seconds": duration,
        "tokens a matrix parameter": lambda n: f"{n:.1f}",
        "parameters": lambda n: f"{n / 1e6:.1f} M",
        "tokens": lambda n: f"{n / 1e6:,.0f} M" if n < 9.5e8 else f"{n / 1e9:.1f} G",
    }
    names = list(rows[0])
    print(
        "| " + " | ".join("time" if name == "seconds" else name for name in names) + " |\n" + "|---" * len(names) + "|"
    )
    for one in rows:
        plain = {name: f"{value:,}" if isinstance(value, int) else value for name, value in one.items()}
        print("| " + " | ".join(str(write[n](one[n]) if n in write else plain[n]) for n in names) + " |")


RECIPES = {  # the flags, the tokens of the text, those of the vocabulary
    "Shakespeare": ({"depth": 6, "context": 256}, 1_003_854, 70),
    "TinyStories": ({"depth": 8}, 560_000_000, 4096),
    "124M": ({"depth": 12, "recipe": "gpt2"}, 10**10, 50_304),
}


def memory_table() -> list[dict]:
    """Bytes of a step of GPT-2's 124 million parameters at context 1,024, in bf16 on a GPU, by AdamW."""
    rows = []
    for batch in BATCHES:
        found = {"windows": batch}
        for again in (False, True):
            with torch.device("meta"):
                model = Decoder(ModelConfig(50_304, 1024, 12, 768, 12, recipe="gpt2"))
            model = recompute(model) if again else model
            every = batch * 1024 * 50_304
            for name, logits in (("whole", every), ("by parts", memory.logits_at_once(50_304, batch * 1024))):
                known = memory.estimate(model, "adamw", batch, 1024, 2, logits)
                found[f"{'recomputed, ' * again}loss {name}"] = known.total
        rows.append(found)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    args = parser.parse_args()
    found: dict = {}
    for card, vocab_size in ((CPU, 1536), (LARGE, 50_304)):
        runs = [planned(card, ENOUGH, vocab_size, depth=layers) for layers in DEPTHS]
        found[card.name] = [row(run, card) for run in runs if not isinstance(run, str)]
        print(f"\n{card.name}, {vocab_size:,} tokens, assumed {card.share:.0%} of {card.rate / 1e12:,.1f} TFLOP/s\n")
        show(found[card.name])
        for run in runs:
            if isinstance(run, str):
                print(run)
    for name, (flags, text, vocab_size) in RECIPES.items():
        rows = []
        for card in (SMALL, LARGE):
            run = planned(card, text, vocab_size, **flags)
            rows.append({"card": card.name, **row(run, card)})
        print(f"\n{name}\n")
        show(rows)
        found[name] = rows
    print("\n124 M, context 1,024: GB of a step\n")
    found["memory"] = memory_table()
    print("| " + " | ".join(found["memory"][0]) + " |\n" + "|---" * len(found["memory"][0]) + "|")
    for one in found["memory"]:
        print(f"| {one['windows']} | " + " | ".join(f"{n / 1e9:.1f}" for k, n in one.items() if k != "windows") + " |")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")
