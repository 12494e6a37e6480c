"""Scores of texts and of experiments, with the standard library and torch only.

Left out as yet: n-gram overlap with references (precision, recall, ROUGE, BLEU).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch


def perplexity(loss: float) -> float:
    """exp(loss), of a loss in nats per token: the number of equally likely tokens that would be as hard to guess.

    >>> round(perplexity(math.log(8)), 6)
    8.0
    """
    return math.exp(loss)


def bits_per_character(loss: float, tokens: int, characters: int) -> float:
    """Bits per character of a loss in nats per token; comparable between tokenizers, as a loss per token is not."""
    return loss * tokens / characters / math.log(2)


def distinct_n(texts: Sequence[str], n: int) -> float:
    """The share of different n-grams of words among all n-grams of the texts (Li et al. 2016); 0 when there are none.

    >>> distinct_n(["a b a b"], 2)    # ab, ba, ab
    0.6666666666666666
    """
    grams = [tuple(words[i : i + n]) for words in map(str.split, texts) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


class Interval(NamedTuple):
    """A mean and the ends of its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3g} ({self.low:.3g} to {self.high:.3g})"


def bootstrap_interval(values: Sequence[float], samples: int = 2000, seed: int = 0) -> Interval:
    """Mean of many values with its 95 % percentile bootstrap interval (Efron 1979). Raises ValueError for no values."""
    values = torch.as_tensor(values, dtype=torch.float64)
    if not len(values):
        raise ValueError("there are no values to average")
    generator = torch.Generator().manual_seed(seed)
    means = torch.stack(
        [values[torch.randint(len(values), (len(values),), generator=generator)].mean() for _ in range(samples)]
    )
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(values.mean().item(), low, high)


def seed_interval(values: Sequence[float]) -> Interval:
    """Mean of a few runs with its 95 % Student-t interval. Raises ValueError for fewer than two values.

    >>> print(seed_interval([1.0, 2.0, 3.0]))
    2 (-0.484 to 4.48)
    """
    if len(values) < 2:
        raise ValueError(f"an interval over seeds needs at least two runs, not {len(values)}")
    values = torch.as_tensor(values, dtype=torch.float64)
    reach = T_975[min(len(values) - 1, len(T_975) - 1)] * values.std().item() / math.sqrt(len(values))
    mean = values.mean().item()
    return Interval(mean, mean - reach, mean + reach)


# The 97.5 % quantile of Student's t by degrees of freedom; beyond the table it is close to the last entry.
T_975 = [math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228]
T_975 += [2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086]
