"""Scores of predictions that are right or wrong, or ranked: classes, entities, retrieval, rank correlation."""

from collections import Counter
from collections.abc import Sequence

import torch


def accuracy(truth: Sequence, predicted: Sequence) -> float:
    """The share of predictions that are right; ValueError for none."""
    _check_pairs(truth, predicted)
    return sum(a == b for a, b in zip(truth, predicted)) / len(truth)


def confusion_matrix(truth: Sequence[int], predicted: Sequence[int], classes: int) -> list[list[int]]:
    """Counts by true class (row) and predicted class (column)."""
    table = [[0] * classes for _ in range(classes)]
    for a, b in zip(truth, predicted, strict=True):
        table[a][b] += 1
    return table


def macro_f1(truth: Sequence, predicted: Sequence) -> float:
    """The mean of F1 = 2 TP / (2 TP + FP + FN) over the classes that occur on either side, as in scikit-learn.

    Source: van Rijsbergen 1979.
    """
    _check_pairs(truth, predicted)
    right, both = Counter(a for a, b in zip(truth, predicted) if a == b), Counter([*truth, *predicted])
    classes = set(truth) | set(predicted)
    return sum(2 * right[c] / both[c] for c in classes) / len(classes)


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
    """F1 over the entities of many texts, found where kind and both ends are right; 0 if there are none on either side.

    Source: Tjong Kim Sang & De Meulder 2003; the micro average of seqeval.
    """
    right = found = there = 0
    for a, b in zip(truth, predicted, strict=True):
        if len(a) != len(b):
            raise ValueError(f"a text of {len(a)} tags has {len(b)} predicted ones")
        a, b = entity_spans(a), entity_spans(b)
        right, there, found = right + len(a & b), there + len(a), found + len(b)
    return 2 * right / (there + found) if there + found else 0.0


def recall_at_k(similarity: torch.Tensor, k: int) -> float:
    """The share of rows i of similarity (N, M) whose own column i is among the k largest.

    Ties count as before it, and so does what is no number.
    """
    own = similarity.diagonal()[:, None]
    before = (~(similarity < own)).sum(dim=1) - 1  # itself is no rival
    return (before < k).double().mean().item()


def similarity_scores(similarity: torch.Tensor, labels: Sequence[float | None]) -> dict[str, float]:
    """How well cosines find the second text of each first one, among all second texts.

    Args:
        similarity: (N, N), the cosines of N first texts (rows) and their N second texts (columns).
        labels: how like the texts of each pair are, or None for all. With scores, only pairs of the highest are looked
            for, among all; and the cosines of all pairs are compared with their scores.
    Returns: {"recall_at_1", "recall_at_5"}, and with scores "spearman".
    """
    found, correlation = similarity, {}
    if labels[0] is not None:
        alike = torch.tensor([label == max(labels) for label in labels])
        order = torch.cat([alike.nonzero(), (~alike).nonzero()]).flatten()  # so that a row's own column is its number
        found = similarity[alike][:, order]
        correlation = {"spearman": spearman(similarity.diagonal().tolist(), labels)}
    return {f"recall_at_{k}": recall_at_k(found, k) for k in (1, 5)} | correlation


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Rank correlation: Pearson's correlation of the ranks, ties sharing the mean of theirs.

    Returns: -1 to 1; not a number when one side is constant or holds what is no number.
    Source: Spearman 1904.
    """
    _check_pairs(first, second)
    a, b = (_ranks(torch.as_tensor(values, dtype=torch.float64)) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    return (a @ b / (a.norm() * b.norm())).item()


def _ranks(values: torch.Tensor) -> torch.Tensor:
    if values.isnan().any():  # it has no rank, and so the others have none
        return values.new_full(values.shape, torch.nan)
    _, place, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    return (last - (counts - 1) / 2)[place].double()


def _check_pairs(first: Sequence, second: Sequence) -> None:
    if len(first) != len(second) or not len(first):
        raise ValueError(f"{len(first)} and {len(second)} values cannot be compared: it takes as many, at least one")
