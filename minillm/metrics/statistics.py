"""How sure a score is: intervals over items and over seeds, and whether two systems differ by more than chance.

The bootstrap asks what the score would be on other items like these, so it draws as many again, with replacement
(Efron 1979). A comparison of two systems on the same items draws items, not systems: an item that is hard for one is
mostly hard for the other, and in the difference that cancels (Koehn 2004).

Left out: intervals that correct for skew (BCa), corrections for testing many systems at once.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Values = Sequence[float] | Tensor


class Interval(NamedTuple):
    """A mean and the ends of its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3g} ({self.low:.3g} to {self.high:.3g})"


def _mean(values: Tensor) -> float:
    return values.mean().item()


def bootstrap_interval(
    values: Values, samples: int = 2000, seed: int = 0, score: Callable[[Tensor], float] = _mean
) -> Interval:
    """Mean of many values with its 95 % percentile bootstrap interval.

    Args:
        values: (N,), or for a score that is no mean of items (N, K), what is known of each item.
        score: makes one number of such rows, as `lambda rows: bleu_of(rows).score` of `bleu_statistics`.
    Raises: ValueError for no values.
    Source: Efron 1979.
    """
    values = torch.as_tensor(values, dtype=torch.float64)
    if not len(values):
        raise ValueError("there are no values to average")
    generator = torch.Generator().manual_seed(seed)
    drawn = [score(values[torch.randint(len(values), (len(values),), generator=generator)]) for _ in range(samples)]
    return Interval(score(values), *_middle(drawn))


def _middle(drawn: Sequence[float]) -> list[float]:
    """The ends of the middle 95 % of the numbers."""
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    return torch.quantile(torch.as_tensor(drawn, dtype=torch.float64), ends).tolist()


def seed_interval(values: Sequence[float], limits: tuple[float, float] = (-math.inf, math.inf)) -> Interval:
    """Mean of a few runs, at least two, with its 95 % Student-t interval.

    Args:
        limits: what the truth cannot pass, such as SHARE: the interval ends there
    Raises: ValueError for fewer than two runs.

    >>> print(seed_interval([1.0, 2.0, 3.0]))
    2 (-0.484 to 4.48)
    >>> print(seed_interval([0.9, 0.95, 1.0], SHARE))
    0.95 (0.826 to 1)
    """
    if len(values) < 2:
        raise ValueError(f"an interval over seeds needs at least two runs, not {len(values)}")
    values = torch.as_tensor(values, dtype=torch.float64)
    reach = T_975[min(len(values) - 1, len(T_975) - 1)] * values.std().item() / math.sqrt(len(values))
    centre, (low, high) = values.mean().item(), limits
    return Interval(centre, max(centre - reach, low), min(centre + reach, high))


def share_interval(right: int, n: int) -> Interval:
    """The share `right` of `n` items with its 95 % Wilson interval, which never passes 0 or 1.

    A bootstrap of items that are all right has no width; this one still knows how few they were.
    Raises: ValueError unless 0 <= right <= n and there is an item.
    Source: Wilson 1927.

    >>> print(share_interval(10, 10))
    1 (0.722 to 1)
    """
    if not 0 <= right <= n or n < 1:
        raise ValueError(f"{right} of {n} is no share: it takes 0 to n items that are right, of at least one")
    share, z2 = right / n, NORMAL_975**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = NORMAL_975 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Interval(share, max(centre - reach, 0.0), min(centre + reach, 1.0))


SHARE = (0.0, 1.0)  # the limits of a share
NORMAL_975 = 1.959964  # the 97.5 % quantile of the normal distribution
# The 97.5 % quantile of Student's t by degrees of freedom; beyond the table it is close to the last entry.
T_975 = [math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228]
T_975 += [2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086]


class Comparison(NamedTuple):
    """How much higher the first of two systems scores, and what speaks against chance.

    difference: first minus second, with its 95 % interval over other items like these.
    wins: the share of the resamples in which the first scores higher.
    p: how often a difference at least as large comes about, either way, where it is chance who wrote what.
    """

    difference: Interval
    wins: float
    p: float
    signature: str


def paired_comparison(
    first: Values, second: Values, samples: int = 2000, seed: int = 0, score: Callable[[Tensor], float] = _mean
) -> Comparison:
    """Two systems on the same items: what each scored on them, or rows as `bootstrap_interval` takes them.

    The interval and the wins are of a paired bootstrap. p is of approximate randomisation: were both systems alike,
    then swapping their answers to an item would change nothing, so each sample swaps every item or not by a coin. It
    counts the truth as one of the samples, hence is never 0, and differences as large as the true one (sacrebleu: only
    larger ones, too few where many items are equal).
    Raises: ValueError unless both have as many items, at least one.
    Source: Koehn 2004; for p, Noreen 1989 and Riezler & Maxwell 2005.

    >>> paired_comparison([1, 1, 1, 0], [0, 1, 0, 0]).difference.mean
    0.5
    """
    first, second = (torch.as_tensor(values, dtype=torch.float64) for values in (first, second))
    if first.shape != second.shape or not len(first):
        shapes = f"{tuple(first.shape)} and {tuple(second.shape)}"
        raise ValueError(f"values of shape {shapes} are not of the same items: it takes as many of both, at least one")
    N, generator = len(first), torch.Generator().manual_seed(seed)
    difference = score(first) - score(second)
    drawn, swapped = [], []
    for _ in range(samples):
        items = torch.randint(N, (N,), generator=generator)
        drawn.append(score(first[items]) - score(second[items]))
        coins = torch.randint(2, (N, *[1] * (first.dim() - 1)), generator=generator).bool()
        swapped.append(score(second.where(coins, first)) - score(first.where(coins, second)))
    as_large = sum(abs(other) >= abs(difference) * (1 - 1e-9) for other in swapped)  # sums differ in their last digit
    unknown = difference != difference  # a score that is no number is neither higher nor lower
    return Comparison(
        difference=Interval(difference, *_middle(drawn)),
        wins=math.nan if unknown else sum(d > 0 for d in drawn) / samples,
        p=math.nan if unknown else (as_large + 1) / (samples + 1),
        signature=f"paired bootstrap and randomisation|items:{N}|samples:{samples}|seed:{seed}",
    )
