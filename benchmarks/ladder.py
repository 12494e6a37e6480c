"""From GPT-2 to Llama one part at a time, at equal numbers of weights: what lesson 08 draws.

    python benchmarks/ladder.py --json benchmarks/ladder.json

Every rung is given the inner width of its MLP that makes it as large as the first (and, with two tables, a smaller
width). For each rung the learning rate is chosen on two seeds, which are not reported; three others then run at it.
All see the same windows of the small world of `optimizers.py`, in the same order for a seed, with AdamW. The loss is
that of 60 held-out tales.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from optimizers import read_data

from minillm.data import Windows
from minillm.models import LADDER, RECIPES, Decoder, ModelConfig
from minillm.system import pick_device
from minillm.training import TrainConfig, causal_lm, fit, mean_loss

STEPS, CONTEXT, BATCH, WIDTH = 300, 64, 8, 64
RATES = (0.002, 0.005, 0.0125)
TRIED, SEEDS = (0, 9), range(1, 4)
RECIPES["gpt2-post"] = RECIPES["gpt2"]._replace(post_norm=True, branch_scale=lambda layers: 1.0)
RUNGS = {  # name: recipe, and what is set beside it
    "gpt2, post-norm": ("gpt2-post", {}),
    "gpt2": ("gpt2", {}),
    **{name: (name, {}) for name in LADDER},
    "llama-tied": ("llama-tied", {}),
    "llama-tied, 2 kv heads": ("llama-tied", {"kv_heads": 2}),
    "llama, two tables": ("llama", {"width": 56}),
}


def model_of(V: int, recipe: str, hidden: int = 0, **more) -> Decoder:
    """A model of the size of this benchmark."""
    return Decoder(
        ModelConfig(V, CONTEXT, 2, **{"width": WIDTH, "heads": 4, "hidden": hidden, "recipe": recipe} | more)
    )


def weights_of(model: Decoder) -> int:
    return sum(p.numel() for p in model.parameters())


def hidden_for(size: int, V: int, recipe: str, **more) -> int:
    """The inner width with which a recipe has the number of weights that is nearest to a size."""
    one, two = (weights_of(model_of(V, recipe, hidden, **more)) for hidden in (8, 16))
    return max(8, round(8 + (size - one) / ((two - one) / 8)))


def trained(data: dict, recipe: str, hidden: int, rate: float, seed: int, steps: int = STEPS, **more) -> float:
    """The held-out loss of one run."""
    torch.manual_seed(seed)
    model = model_of(data["V"], recipe, hidden, **more)
    config = TrainConfig(
        steps=steps, optimizer="adamw", learning_rate=rate, warmup=20, eval_every=steps, device="cpu", dtype="fp32"
    )
    fit(model, causal_lm, Windows(data["train"], CONTEXT, BATCH, seed), config, progress=False)
    return mean_loss(model, causal_lm, Windows(data["valid"], CONTEXT, 24), pick_device("cpu", "fp32"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="where the losses go")
    file, data = parser.parse_args().json, read_data()
    torch.set_num_threads(1)
    size = weights_of(model_of(data["V"], "gpt2"))
    found = {"steps": STEPS, "floor": data["floor"], "bigram": data["bigram"], "rungs": {}}
    for name, (recipe, more) in RUNGS.items():
        hidden, start = hidden_for(size, data["V"], recipe, **more), time.process_time()
        tried = {rate: sum(trained(data, recipe, hidden, rate, seed, **more) for seed in TRIED) / 2 for rate in RATES}
        rate = min(tried, key=tried.get)
        row = {
            "weights": weights_of(model_of(data["V"], recipe, hidden, **more)), "hidden": hidden, "rate": rate,
            "tried": {str(key): value for key, value in tried.items()},
            "losses": [trained(data, recipe, hidden, rate, seed, **more) for seed in SEEDS],
        }  # fmt: skip
        found["rungs"][name] = row | {
            "seconds": round((time.process_time() - start) / (len(RATES) * len(TRIED) + len(SEEDS)), 2)
        }
        print(name, found["rungs"][name], flush=True)
        file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
