"""A language model beside the world that its text comes from: how far from the truth it is, and where it slips."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minillm.models import evaluating
from minillm.system import Compute
from minillm.tales import NextToken, divergence, entropy
from minillm.text import Tokenizer

BEFORE = 60  # characters that a slip is shown with


class Position(NamedTuple):
    """A token of a document, as the model and the world expect it (nats)."""

    document: int
    place: int  # of the token, behind those that begin every text
    divergence: float  # KL(world || model) of the two distributions
    entropy: float  # of the world's
    impossible: float  # the probability that the model gives to what cannot come
    guess: int  # the model's likeliest token, and its probability
    chance: float
    world: dict[int, float]


@torch.no_grad()
def beside_the_world(
    model: nn.Module, tokenizer: Tokenizer, documents: Sequence[str], world: NextToken, compute: Compute | None = None
) -> list[Position]:
    """Every token of documents that the world can have written, as far as the model's context reaches.

    Args: model: a causal one, that was trained on documents between `begin` and `eos_id`.
    """
    compute, found = compute or Compute.of(model), []
    begin = list(tokenizer.begin or (tokenizer.bos_id,))
    context = getattr(getattr(model, "config", None), "context", None)
    with evaluating(model):
        for number, text in enumerate(documents):
            ids = [*tokenizer.encode(text), tokenizer.eos_id]
            row = torch.tensor([[*begin, *ids][:context]], device=compute.device)
            with compute.autocast():
                logits = model(row)[0]
            logprobs = logits.double().log_softmax(-1).cpu()[len(begin) - 1 :]
            for place, (chances, own) in enumerate(zip(world.along(ids), logprobs)):
                if chances:
                    found.append(_position(number, place, chances, own))
    return found


def _position(number: int, place: int, chances: dict[int, float], logprobs: Tensor) -> Position:
    guess = int(logprobs.argmax())
    impossible = max(0.0, 1 - float(logprobs[list(chances)].exp().sum()))
    known = divergence(chances, logprobs), entropy(chances), impossible
    return Position(number, place, *known, guess, math.exp(float(logprobs[guess])), chances)


def against_the_world(
    positions: Sequence[Position], tokenizer: Tokenizer, documents: Sequence[str], slips: int = 5
) -> dict:
    """What the positions say together: the loss beyond the floor, how it arises, and the places where it is largest.

    `kl` is nats per token: what the model's expected loss has beyond the world's entropy. `recalled` is the same where
    only one token is possible, because the text before forces it, and `chosen` where there are several; `impossible`
    is the probability that goes to tokens that cannot come.
    """
    forced = [one.divergence for one in positions if len(one.world) == 1]
    free = [one.divergence for one in positions if len(one.world) > 1]
    worst = sorted(positions, key=lambda one: -one.divergence)[:slips]
    return {
        "tokens": len(positions),
        "kl": _mean([one.divergence for one in positions]),
        "entropy": _mean([one.entropy for one in positions]),
        "recalled": _mean(forced),
        "chosen": _mean(free),
        "impossible": _mean([one.impossible for one in positions]),
        "slips": [_slip(one, tokenizer, documents) for one in worst],
    }


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _slip(one: Position, tokenizer: Tokenizer, documents: Sequence[str]) -> dict:
    """A place where the model is far from the truth, for people."""
    ids = tokenizer.encode(documents[one.document])
    likeliest = list(one.world.items())[:3]
    return {
        "after": tokenizer.decode(ids[: one.place])[-BEFORE:],
        "kl": one.divergence,
        "model": {tokenizer.decode([one.guess]): one.chance},
        "world": {tokenizer.decode([i]): p for i, p in likeliest},
    }
