"""Graders of lesson 28: the nearest documents, their mean reciprocal rank, when to refuse, and BM25."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minillm.course.exercises import Wrong, exercise, expect, likely_slip


@exercise("nearest_places")
def grade_nearest_places(answer: Callable) -> None:
    """Three documents of different lengths by hand, all of them in order, and the library's index on random vectors."""
    question, documents = torch.tensor([0.8, 0.5]), torch.tensor([[0.9, 0.3], [0.3, 0.9], [0.4, 0.35]])
    came = _places(answer(question.clone(), documents.clone(), 2))
    slips = [
        ([0, 1], "You compared plain products: long documents win. Bring every vector to length 1."),
        ([1, 0], "The nearest has the largest cosine, and stands first."),
        ([0, 2], "The nearest has the largest cosine, and stands first."),
        ([3, 1], "Places begin with 0."),
    ]
    expect(came, [2, 0], likely_slip(came, slips, "The cosines are 0.972, 0.771 and 0.987."))
    expect(_places(answer(question * 9, documents, 3)), [2, 0, 1], "With k = 3 all come, the nearest first.")
    generator = torch.Generator().manual_seed(0)
    from minillm.inference import Index, Passage

    some = torch.randn(30, 6, generator=generator) * torch.rand(30, 1, generator=generator) * 5
    asked = torch.randn(6, generator=generator)
    index = Index([Passage("", "")] * 30, torch.nn.functional.normalize(some, dim=1), "random")
    expect(
        _places(answer(asked, some, 7)), index.top(asked[None], 7)[1][0].tolist(), "On 30 random vectors it differs."
    )


@exercise("reciprocal_rank")
def grade_reciprocal_rank(answer: Callable) -> None:
    """Places 1, 2 and 4, and one that is missing."""
    found, truth = [[4, 2, 7, 1], [2, 7, 1, 4], [5, 6, 8, 9], [1, 3, 5, 0]], [2, 2, 3, 0]
    came = _number(answer([list(row) for row in found], list(truth)))
    slips = [
        (1.75 / 3, "What was not found counts as 0, so the mean is over all four questions."),
        (7 / 3, "That is a mean place. Take 1 / place first, then the mean."),
        (7 / 4, "That is a mean place. Take 1 / place first, then the mean."),
        (1.75, "That is the sum; the mean was asked."),
        ((1 / 3 + 1 / 2 + 1 / 5) / 4, "Places are counted from 1 here: the first has 1 / 1."),
        (0.25, "That is recall at 1. The second place is worth a half."),
        (0.75, "That is how often it was found at all; the place counts, too."),
    ]
    expect(came, 1.75 / 4, likely_slip(came, slips, "The places are 2, 1, missing, 4: (1/2 + 1 + 0 + 1/4) / 4."))
    expect(_number(answer([[1, 2]], [9])), 0.0, "If nothing is found it is 0.")
    expect(_number(answer([[3], [8, 3]], [3, 3])), 0.75, "Rows may have different lengths.")


@exercise("best_threshold")
def grade_best_threshold(answer: Callable) -> None:
    """Four questions by hand, heaps that overlap, and a slow search over random ones."""
    came = _number(answer([0.9, 0.2, 0.6, 0.4], [True, False, True, False]))
    slips = [
        (0.2, "At the lowest cosine everything is answered: refusing rightly counts as well."),
        (0.4, "At 0.4 the question with 0.4 is still answered: at or above the threshold one answers."),
        (0.9, "At 0.9 the question with 0.6 is refused, and it has an answer."),
        (0.5, "Choose one of the cosines that were seen."),
    ]
    expect(came, 0.6, likely_slip(came, slips, "At 0.6 all four are treated rightly."))
    came = _number(answer([0.2, 0.5, 0.3, 0.7, 0.4], [True, True, False, True, False]))
    slips = [(0.2, "That is the smallest with an answer; one that lies far off may be given up for the others.")]
    expect(came, 0.5, likely_slip(came, slips, "At 0.5 four of five are treated rightly."))
    came = _number(answer([0.7, 0.1, 0.3, 0.5], [True, False, True, False]))
    expect(came, 0.3, "0.3 and 0.7 are as good: of several, take the smallest.")
    draw = torch.rand(40, generator=torch.Generator().manual_seed(1))
    known = (draw + 0.4 * torch.rand(40, generator=torch.Generator().manual_seed(2)) > 0.7).tolist()
    some = draw.tolist()
    best = max(sorted(some), key=lambda cut: sum((c >= cut) == k for c, k in zip(some, known)))
    expect(_number(answer(list(some), list(known))), best, "On 40 random questions it differs.")


@exercise("bm25")
def grade_bm25(answer: Callable) -> None:
    """The example, a word that is repeated, one that nobody has, and a slow formula on sentences."""
    came = _scores(answer(["a"], [["a", "b"], ["b", "b"]]), 2)
    slips = [
        ([0.0, 0.0], "The logarithm of 1 + ...: without the 1 a word in half of the documents weighs nothing."),
        ([0.4055, 0.0], "A document counts once for n, however often it has the word: N - n + 0.5 over n + 0.5."),
    ]
    slip = likely_slip(came, slips, "ln(1 + 1.5 / 1.5) = ln 2, and the fraction is 2.5 / 2.5 = 1.")
    expect(came, [math.log(2), 0.0], slip)
    documents = [["a"] * 10, ["a", "b", "c"], ["b", "c"]]
    came = _scores(answer(["a"], documents), 3)
    expected = slow_bm25(["a"], documents)
    slips = [
        ([10 * 0.47, 0.47, 0.0], "A count saturates: c (K + 1) / (c + K (...))."),
        (slow_bm25(["a"], documents, b=0.0), "The length is missing: K (1 - b + b |d| / mean)."),
        ([10 * x for x in slow_bm25(["a"], documents)], "A count saturates: divide by c + K (...)."),
    ]
    slip = "A count saturates, and a document of ten words pays for its length."
    expect(came, expected, likely_slip(came, slips, slip))
    twice = _scores(answer(["a", "a", "zebra"], documents), 3)
    expect(twice, [2 * x for x in expected], "A word that stands twice in the question counts twice, an unknown one 0.")
    text = [
        line.split() for line in ("where did the owl live", "the owl lived in the old mill", "a mill", "it is the owl")
    ]
    expect(_scores(answer(text[0], text[1:]), 3), slow_bm25(text[0], text[1:]), "On three sentences it differs.")


def slow_bm25(question: list[str], documents: list[list[str]], K: float = 1.5, b: float = 0.75) -> list[float]:
    """The formula, word by word."""
    mean = sum(map(len, documents)) / len(documents)
    scores = [0.0] * len(documents)
    for word in question:
        n = sum(word in document for document in documents)
        rare = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
        for i, document in enumerate(documents):
            c = document.count(word)
            scores[i] += rare * c * (K + 1) / (c + K * (1 - b + b * len(document) / mean))
    return scores


def _places(came) -> list[int]:
    if isinstance(came, Tensor):
        came = came.tolist()
    if not isinstance(came, list | tuple):
        raise Wrong(f"it gave {came!r} where a list of places was expected.")
    return [int(place) for place in came]


def _number(came) -> float:
    try:
        return float(came)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"it gave {came!r} where a number was expected.") from None


def _scores(came, documents: int) -> list[float]:
    came = came.tolist() if isinstance(came, Tensor) else came
    if not isinstance(came, list | tuple) or len(came) != documents:
        raise Wrong(f"it gave {came!r} where a score for each of {documents} documents was expected.")
    return [float(score) for score in came]
