"""Kernels that a GPU would start and waits for it, in a step of each stage, counted without one.

    python benchmarks/launches.py --json benchmarks/launches.json

Small models run on the virtual GPU of the tests: what is counted depends on the number of layers, not on their width.
A step is the difference of runs of 13 and of 3 steps, divided by ten, so that what happens once is left out, and the
reading of the loss every ten steps counts as a tenth. Kernels are the operations of torch, one by one; a
compiler makes fewer of them.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

import torch
from side_by_side import ROOT

sys.path.insert(0, str(ROOT / "tests"))
from virtual_gpu import VirtualGPU

from minillm import peft
from minillm.align import PPOConfig, train_dpo, train_ppo, train_reward
from minillm.data import IGNORE_INDEX, Padded, Windows, tokenize
from minillm.inference import generate
from minillm.models import Decoder, Encoder, ModelConfig, RewardModel, SequenceClassifier
from minillm.text import Tokenizer
from minillm.training import TrainConfig, causal_lm, classification, fit, masked_lm, penalised

ABC = Tokenizer.characters("abcd")
TOKENS = tokenize(["abcab", "ba", "cabbacabbacabba", "a", "bcbc"] * 80, ABC)
ROWS = [[1 + j % 9 for j in range(3 + i % 7)] for i in range(64)]
PAIRS = [([{"role": "user", "content": "abc"[: 1 + i % 3]}], "a" * (2 + i % 4), "b" * (1 + i % 5)) for i in range(32)]
SHORT, LONG = 3, 13  # steps


def model(kind=Decoder, layers=2, **more):
    """A narrow model."""
    torch.manual_seed(0)
    return kind(ModelConfig(ABC.vocab_size, 64, layers, 16, 2, **more))


def config(steps: int, optimizer="muon", **more) -> TrainConfig:
    """How to train on a GPU."""
    return TrainConfig(steps=steps, optimizer=optimizer, device="cuda", eval_every=1000, **{"dtype": "bf16"} | more)


def padded(**more) -> Padded:
    """Texts of different lengths, with labels on most of each."""
    return Padded([{"input_ids": r, "labels": [IGNORE_INDEX, *r[1:]]} for r in ROWS], 0, 4, seed=1, **more)


def pretrain(steps: int, layers=2, optimizer="muon", **more) -> None:
    """The default model on windows."""
    fit(
        model(layers=layers),
        causal_lm,
        Windows(TOKENS, 16, 4, seed=3),
        config(steps, optimizer, **more),
        progress=False,
    )


def tune(steps: int, method: str) -> None:
    """An adapter on texts."""
    adapted = peft.inject(model(), peft.METHODS[method](), generator=torch.Generator().manual_seed(1))
    peft.freeze(adapted)
    ada = method == "adalora"
    more = {"after_step": peft.Budget(adapted, 100)} if ada else {}
    loss = penalised(causal_lm, peft.orthogonality) if ada else causal_lm
    fit(adapted, loss, padded(), config(steps, "adamw"), progress=False, **more)


def classify(steps: int) -> None:
    """A class for each text."""
    rows = Padded([{"input_ids": row, "labels": i % 2} for i, row in enumerate(ROWS)], 0, 4, seed=1)
    fit(SequenceClassifier(model(Encoder), 2), classification, rows, config(steps), progress=False)


def ppo(steps: int) -> None:
    """Rounds of one update; sampling and rewards are in it."""
    settings = PPOConfig(
        rounds=steps, batch_size=4, minibatch_size=4, epochs=1, max_new_tokens=8, device="cuda", dtype="bf16"
    )
    prompts = [conversation for conversation, _, _ in PAIRS]
    length = lambda conversations, answers: torch.tensor([len(a) % 3 + i / 9 for i, a in enumerate(answers)])  # noqa: E731
    train_ppo(model(), ABC, prompts, length, settings, progress=False)


def write(tokens: int) -> None:
    """Tokens of two texts, sampled."""
    ids, generator = torch.zeros(2, 1, dtype=torch.long, device="cuda"), torch.Generator("cuda")
    with torch.autocast("cuda", torch.bfloat16):
        generate(model().to("cuda").eval(), ids, tokens, 0.8, top_p=0.9, stop=(ABC.vocab_size,), generator=generator)


STAGES = {
    "pretrain": pretrain,
    "pretrain, 4 micro-batches": partial(pretrain, accumulate=4),
    "pretrain, fp16": partial(pretrain, dtype="fp16"),
    "pretrain, 12 layers, muon": partial(pretrain, layers=12),
    "pretrain, 12 layers, adamw": partial(pretrain, layers=12, optimizer="adamw"),
    "mlm": lambda steps: fit(model(Encoder), masked_lm, padded(), config(steps), progress=False),
    "classify": classify,
    "sft": lambda steps: fit(model(), causal_lm, padded(), config(steps), progress=False),
    **{f"sft, {method}": partial(tune, method=method) for method in peft.METHODS},
    "reward": lambda steps: train_reward(RewardModel(model()), ABC, PAIRS, config(steps), progress=False),
    "dpo": lambda steps: train_dpo(model(), ABC, PAIRS, config(steps), progress=False),
    "ppo, a round": ppo,
    "a token of generation": write,
}


def count(stage: str) -> dict[str, float]:
    """Launches and waits of a step."""
    totals = []
    for steps in (SHORT, LONG):
        with VirtualGPU() as gpu:
            STAGES[stage](steps)
        totals.append((gpu.launches.total(), gpu.waits.total()))
    launches, waits = ((b - a) / (LONG - SHORT) for a, b in zip(*totals))
    return {"launches": launches, "waits": waits}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    print("| a step of | launches | waits |\n|---|---|---|")
    for name in STAGES:
        found[name] = count(name)
        print(f"| {name} | {found[name]['launches']:,.0f} | {found[name]['waits']:.1f} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")
