"""What a measurement of text gives back: numbers, and the settings that they depend on.

How a text is cut into words, whether case counts, how zeros are smoothed: such settings move a score by more than most
papers claim as progress, and two packages under one name often differ in them (Post 2018). So a score carries its
`signature`, and only scores of one signature are averaged.
"""

from collections import namedtuple
from collections.abc import Sequence

from minillm.metrics.statistics import bootstrap_interval


class Score(float):
    """One number with its `signature`; otherwise a float like any other.

    >>> Score(0.5, "distinct-2|tokens:white space").signature
    'distinct-2|tokens:white space'
    """

    def __new__(cls, value: float, signature: str = ""):
        score = super().__new__(cls, value)
        score.signature = signature
        return score


class Scores(namedtuple("Scores", "precision recall f1")):
    """Precision, recall and F1, each from 0 to 1, with their `signature`; unpacks into the three numbers.

    precision: the share of the candidate that the reference has too. recall: the share of the reference that the
    candidate has. f1 = 2 P R / (P + R), their harmonic mean; 0 when both are.
    Source: van Rijsbergen 1979.
    """

    signature: str = ""

    def __new__(cls, precision: float, recall: float, f1: float, signature: str = ""):
        scores = super().__new__(cls, precision, recall, f1)
        scores.signature = signature
        return scores

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, signature={self.signature!r})"

    @classmethod
    def from_counts(cls, matches: int, reference: int, candidate: int, signature: str) -> "Scores":
        """Of the matches between `reference` things and `candidate` things; where there are none, 0."""
        precision, recall = matches / max(candidate, 1), matches / max(reference, 1)
        f1 = 2 * precision * recall / (precision + recall) if matches else 0.0
        return cls(precision, recall, f1, signature)


def mean_scores(scores: Sequence[Scores], samples: int = 2000, seed: int = 0) -> Scores:
    """The means over many texts, each an `Interval` (95 %, bootstrap over the texts), as published ROUGE is.

    F1 is the mean of the texts' F1, not the F1 of the means.
    Raises: ValueError for no scores, and for scores of different settings.
    """
    signatures = sorted({score.signature for score in scores})
    if len(signatures) != 1:
        raise ValueError(f"the mean is of scores of one kind, at least one; these are of {signatures or 'none'}")
    means = (bootstrap_interval(column, samples, seed) for column in zip(*scores))
    return Scores(*means, f"{signatures[0]}|texts:{len(scores)}|bootstrap:{samples}|seed:{seed}")
