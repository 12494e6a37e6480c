"""One small model, one budget, five optimizers, each at four learning rates: what lesson 06 draws.

    python benchmarks/optimizers.py --json benchmarks/optimizers.json

The text is a small world of two plots, whose floor is exact. Every run sees the same windows in the same order for a
seed, warms up over 10 steps, holds, and decays linearly over the second half. Adam and AdamW have betas (0.9, 0.95).
Muon moves the hidden matrices at the rate that is named, and AdamW the rest at 1.6 times that. Then, with AdamW at its
best rate and at the highest, parts are switched off one at a time. The loss is that of 60 held-out tales; a run whose
loss is no number stands there as null.
"""

import argparse
import json
import random
from pathlib import Path

import torch
from torch import nn

from minillm import tales
from minillm.data import Windows, tokenize
from minillm.models import Decoder, ModelConfig, bigram_loss
from minillm.system import pick_device
from minillm.text import Tokenizer
from minillm.training import TrainConfig, build_optimizer, causal_lm, fit, mean_loss

STEPS, CONTEXT, BATCH, WIDTH, VOCABULARY = 100, 64, 8, 48, 400
SEEDS = range(3)
RATES = {
    "sgd": (0.3, 1.0, 3.0, 10.0),
    "momentum": (0.1, 0.3, 1.0, 3.0),
    "adam": (0.003, 0.01, 0.03, 0.1),
    "adamw": (0.003, 0.01, 0.03, 0.1),
    "muon": (0.003, 0.01, 0.03, 0.1),
}
PARTS = {  # what is switched off, or on
    "as above": {},
    "no warm-up": {"warmup": 0},
    "no decay": {"decay": "constant"},
    "no clipping": {"clip": 0.0},
    "none of the three": {"warmup": 0, "decay": "constant", "clip": 0.0},
    "no weight decay": {"weight_decay": 0.0},
    "weight decay 1": {"weight_decay": 1.0},
}


def optimizer_of(model: nn.Module, name: str, rate: float, weight_decay: float = 0.1) -> torch.optim.Optimizer:
    """The optimizer of a run."""
    weights, betas = list(model.parameters()), (0.9, 0.95)
    if name in ("sgd", "momentum"):
        return torch.optim.SGD(weights, rate, momentum=0.9 * (name == "momentum"))
    if name == "adam":
        return torch.optim.Adam(weights, rate, betas)
    if name == "adamw":
        return torch.optim.AdamW(weights, rate, betas, weight_decay=weight_decay)
    return build_optimizer(model, "muon", 1.6 * rate, rate, weight_decay=weight_decay)


def trained(data: dict, name: str, rate: float, seed: int, steps: int = STEPS, weight_decay=0.1, **config) -> tuple:
    """(held-out loss, training losses) of one run; (None, those so far) when it broke off."""
    torch.manual_seed(seed)
    model = Decoder(ModelConfig(data["V"], CONTEXT, 1, WIDTH, 2))
    config = TrainConfig(**{"steps": steps, "eval_every": steps, "device": "cpu", "dtype": "fp32"} | config)
    optimizer, losses = optimizer_of(model, name, rate, weight_decay), []

    def loss(model, batch):
        total, terms = causal_lm(model, batch)
        losses.append(float(total / terms))
        return total, terms

    try:
        fit(model, loss, Windows(data["train"], CONTEXT, BATCH, seed), config, optimizer=optimizer, progress=False)
        held_out = mean_loss(model, causal_lm, Windows(data["valid"], CONTEXT, 24), pick_device("cpu", "fp32"))
    except FloatingPointError:
        return None, losses
    return (held_out if held_out < 1e6 else None), losses


def told(n: int, seed: int) -> list[tales.Tale]:
    """Tales of two plots; their log-probability is that in this smaller world."""
    rng = random.Random(seed)
    return [tales.tell(rng, ["lost", "trade"]) for _ in range(n)]


def read_data() -> dict:
    """The tokens, the size of the vocabulary, and what bounds the loss."""
    seen, new = told(600, 1), told(60, 2)
    tokenizer = Tokenizer.train([tale.text for tale in seen[:300]], VOCABULARY)
    train, valid = (tokenize([tale.text for tale in some], tokenizer) for some in (seen, new))
    floor = -sum(tale.logprob for tale in new) / int((valid.targets() >= 0).sum())
    bigram = bigram_loss(train, valid, tokenizer.vocab_size)
    return {"train": train, "valid": valid, "V": tokenizer.vocab_size, "floor": floor, "bigram": bigram}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="where the losses go")
    file, data = parser.parse_args().json, read_data()
    torch.set_num_threads(1)
    found = {"steps": STEPS, "floor": data["floor"], "bigram": data["bigram"], "sweep": {}, "curves": {}, "parts": {}}
    for name, rates in RATES.items():
        runs = {rate: [trained(data, name, rate, seed) for seed in SEEDS] for rate in rates}
        found["sweep"][name] = {str(rate): [loss for loss, _ in some] for rate, some in runs.items()}
        best = min(rates, key=lambda rate: sum(loss or 1e9 for loss, _ in runs[rate]))
        found["curves"][name] = {"rate": best, "losses": [round(x, 4) for x in runs[best][0][1]]}
        print(name, found["sweep"][name], flush=True)
        file.write_text(json.dumps(found, indent=1) + "\n")
    best = found["curves"]["adamw"]["rate"]
    for rate in (best, max(RATES["adamw"])):
        found["parts"][str(rate)] = {
            part: [trained(data, "adamw", rate, seed, **more)[0] for seed in SEEDS] for part, more in PARTS.items()
        }
        print(rate, found["parts"][str(rate)], flush=True)
        file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
