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


def accuracy(truth: Sequence, predicted: Sequence) -> float:
    """The share of predictions that are right. Raises ValueError for none."""
    _check_pairs(truth, predicted)
    return sum(a == b for a, b in zip(truth, predicted)) / len(truth)


def confusion_matrix(truth: Sequence[int], predicted: Sequence[int], classes: int) -> list[list[int]]:
    """Counts by true class (row) and predicted class (column)."""
    table = [[0] * classes for _ in range(classes)]
    for a, b in zip(truth, predicted, strict=True):
        table[a][b] += 1
    return table


def macro_f1(truth: Sequence, predicted: Sequence) -> float:
    """The mean over classes of F1 = 2 TP / (2 TP + FP + FN), every class counting alike (van Rijsbergen 1979).

    The classes are those that occur on either side, as in scikit-learn.
    """
    _check_pairs(truth, predicted)
    classes = set(truth) | set(predicted)
    pairs = list(zip(truth, predicted))
    scores = []
    for c in classes:
        right = sum(a == b == c for a, b in pairs)
        wrong = sum((a == c) != (b == c) for a, b in pairs)
        scores.append(2 * right / (2 * right + wrong))
    return sum(scores) / len(scores)


def entity_spans(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """(kind, start, end) of every entity that BIO tags mark, as seqeval and conlleval count them.

    An entity begins at "B-X", or at an "I-X" that does not go on with an X before it.

    >>> sorted(entity_spans(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"]))
    [('LOC', 3, 4), ('LOC', 4, 5), ('PER', 0, 2)]
    """
    spans, kind, start = set(), None, 0
    for place, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        goes_on = mark == "I" and name == kind
        if kind is not None and not goes_on:
            spans.add((kind, start, place))
            kind = None
        if mark in ("B", "I") and not goes_on:
            kind, start = name, place
    return spans


def entity_f1(truth: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> float:
    """F1 over the entities of many texts: one counts as found when its kind and both its ends are right.

    0 when there are none on either side (Tjong Kim Sang & De Meulder 2003; the micro average of seqeval).
    """
    right = found = there = 0
    for a, b in zip(truth, predicted, strict=True):
        if len(a) != len(b):
            raise ValueError(f"a text of {len(a)} tags has {len(b)} predicted ones")
        a, b = entity_spans(a), entity_spans(b)
        right, there, found = right + len(a & b), there + len(a), found + len(b)
    return 2 * right / (there + found) if there + found else 0.0


def recall_at_k(similarity: torch.Tensor, k: int) -> float:
    """The share of rows i of similarity (N, M) whose own column i is among the k largest (ties count as before it)."""
    own = similarity.diagonal()[:, None]
    before = (similarity >= own).sum(dim=1) - 1  # itself is no rival
    return (before < k).double().mean().item()


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Rank correlation (Spearman 1904): Pearson's correlation of the ranks, ties sharing the mean of theirs.

    Not a number when one side is constant.
    """
    _check_pairs(first, second)
    a, b = (_ranks(torch.as_tensor(values, dtype=torch.float64)) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    return (a @ b / (a.norm() * b.norm())).item()


def _ranks(values: torch.Tensor) -> torch.Tensor:
    _, place, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    return (last - (counts - 1) / 2)[place].double()


def _check_pairs(first: Sequence, second: Sequence) -> None:
    if len(first) != len(second) or not len(first):
        raise ValueError(f"{len(first)} and {len(second)} values cannot be compared: it takes as many, at least one")
