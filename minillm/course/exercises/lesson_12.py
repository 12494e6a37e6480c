"""Graders of lesson 12: the mean over real tokens, spans from tags, recall at k, the mean F1, the best legal tags."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from minillm.course.exercises import Wrong, exercise, expect, likely_slip
from minillm.metrics import accuracy, entity_spans, macro_f1, recall_at_k
from minillm.models import mean_pool


@exercise("mean_of_real_tokens")
def grade_mean_of_real_tokens(answer: Callable) -> None:
    """Three vectors by hand, padding on either side, a text without tokens, the library."""
    x = torch.tensor([[[2.0, 0.0], [4.0, 6.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 0]])
    came = answer(x.clone(), mask.clone())
    slips = [
        (x.mean(1), "The third vector is padding: it must count for nothing."),
        (torch.tensor([[2.0, 2.0]]), "The sum is right, but there are two real tokens, not three: divide by those."),
        (torch.tensor([[6.0, 6.0]]), "That is the sum: divide by the number of real tokens."),
        (torch.tensor([3.0, 3.0]), "Keep the batch: one row for each text."),
    ]
    expected = torch.tensor([[3.0, 3.0]])
    expect(came, expected, likely_slip(came, slips, "(2, 0) and (4, 6) are real; their mean is (3, 3)."))
    slip = "The same text with its padding on the left has the same mean: use the mask, not a length from the left."
    expect(answer(x.flip(1), mask.flip(1)), expected, slip)
    spoiled = x.clone()
    spoiled[0, 2] = -1000.0
    expect(answer(spoiled, mask.clone()), expected, "Whatever stands on padding must not change the answer.")
    empty = answer(x.clone(), torch.zeros_like(mask))
    expect(empty, torch.zeros(1, 2), "A text without tokens has the mean 0, not 0/0: divide by at least 1.")
    generator = torch.Generator().manual_seed(1)
    x, mask = torch.randn(4, 7, 3, generator=generator), torch.rand(4, 7, generator=generator) > 0.4
    slip = "On a random batch it differs from minillm.models.mean_pool."
    expect(answer(x.clone(), mask.long()), mean_pool(x, mask), slip)


@exercise("spans_of_tags")
def grade_spans_of_tags(answer: Callable) -> None:
    """Cases by hand, one rule each, then random tags against the library."""
    tags = ["O", "B-OBJ", "I-OBJ", "O", "B-PER"]
    came = _spans(answer(list(tags)))
    slips = [
        ({("OBJ", 1, 2), ("PER", 4, 4)}, "`end` is the place after the last word, as in a slice."),
        ({("OBJ", 1, 3)}, "The entity that reaches the end of the text is lost: close what is still open."),
        ({("OBJ", 1, 2), ("PER", 4, 5)}, "I-OBJ goes on with the entity before it: a red kite is one thing."),
        ({("B-OBJ", 1, 3), ("B-PER", 4, 5)}, "The kind is what stands after B- or I-."),
    ]
    slip = likely_slip(came, slips, "Words 1 and 2 are one OBJ, word 4 is a PER.")
    expect(came, {("OBJ", 1, 3), ("PER", 4, 5)}, slip)
    slip = "B- always begins a new entity, right behind another of its kind too."
    expect(_spans(answer(["B-PER", "B-PER", "I-PER"])), {("PER", 0, 1), ("PER", 1, 3)}, slip)
    slip = "An I- of another kind does not go on with what is open: it begins an entity of its own."
    expect(_spans(answer(["B-PER", "I-OBJ"])), {("PER", 0, 1), ("OBJ", 1, 2)}, slip)
    slip = "An I- with nothing before it begins an entity, as in the usual scorers."
    expect(_spans(answer(["O", "I-FOOD", "I-FOOD"])), {("FOOD", 1, 3)}, slip)
    names = ["O", "B-A", "I-A", "B-B", "I-B"]
    for seed in range(20):
        draws = torch.randint(5, (12,), generator=torch.Generator().manual_seed(seed))
        tags = [names[i] for i in draws.tolist()]
        slip = f"That was for {' '.join(tags)}."
        expect(_spans(answer(list(tags))), entity_spans(tags), slip)


@exercise("recall_at")
def grade_recall_at(answer: Callable) -> None:
    """A table by hand, whose rows and columns disagree; a tie; the library."""
    table = torch.tensor([[0.9, 0.1, 0.55], [0.8, 0.7, 0.2], [0.4, 0.6, 0.5]])
    came = answer(table.clone(), 1)
    slips = [
        (1, "Return the share of the rows, not their number."),
        (2 / 3, "Compare along a row: row i is a query, and its columns are the candidates."),
        (1.0, "k = 1 means that its own column is the largest of the row: no rival may stand before it."),
    ]
    expect(_number(came), 1 / 3, likely_slip(came, slips, "Only row 0 is largest at its own column."))
    slip = "With k = 2 all three rows find their own: each is second at worst."
    expect(_number(answer(table.clone(), 2)), 1.0, slip)
    slip = "A rival that is equally near counts as before it: a model that says the same of all has found nothing."
    expect(_number(answer(torch.ones(4, 4), 1)), 0.0, slip)
    similarity = torch.randn(20, 30, generator=torch.Generator().manual_seed(2))
    for k in (1, 5, 12):
        slip = f"With k = {k} on a random 20 x 30 table: more columns than rows are allowed."
        expect(_number(answer(similarity.clone(), k)), recall_at_k(similarity, k), slip)


@exercise("mean_f1")
def grade_mean_f1(answer: Callable) -> None:
    """Six texts by hand with a rare class, a class that only the model uses, perfection, the library."""
    truth, predicted = ["a", "a", "a", "a", "b", "b"], ["a", "a", "a", "a", "b", "a"]
    came = answer(list(truth), list(predicted))
    slips = [
        (accuracy(truth, predicted), "That is accuracy, in which the large class counts more."),
        ((4 * 8 / 9 + 2 * 2 / 3) / 6, "That is weighted by size: here every class counts alike."),
        (8 / 9, "That is the F1 of one class: take the mean over all."),
        (2 / 3, "That is the F1 of one class: take the mean over all."),
    ]
    expect(_number(came), 7 / 9, likely_slip(came, slips, "F1 of a is 8/9, of b 2/3; their mean is 7/9."))
    slip = "A class that the model never names, or always names wrongly, has F1 = 0, and counts."
    expect(_number(answer(["a", "a", "b"], ["a", "a", "a"])), 0.4, slip)
    slip = "A class that only the model names counts too, with F1 = 0."
    expect(_number(answer(["a", "a"], ["a", "c"])), 1 / 3, slip)
    expect(_number(answer([2, 0, 1, 1], [2, 0, 1, 1])), 1.0, "All right is 1.")
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        truth, predicted = torch.randint(4, (2, 25), generator=generator).tolist()
        slip = "On random answers it differs from minillm.metrics.macro_f1: 2 TP / (2 TP + FP + FN) by class."
        expect(_number(answer(list(truth), list(predicted))), macro_f1(truth, predicted), slip)


@exercise("legal_tags")
def grade_legal_tags(answer: Callable) -> None:
    """Two words on which every shortcut fails, then random scores against all legal answers there are."""
    names = ["O", "B-A", "I-A", "B-B", "I-B"]
    scores = torch.tensor([[3.0, 2.5, 0.0, 0.0, 0.0], [1.0, 0.0, 4.0, 0.5, 0.0]])
    came = _tags(answer(scores.clone(), list(names)), names)
    slip = "B-A then I-A has the sum 6.5, and no legal pair has more."
    if came == ["O", "I-A"]:
        slip = "I-A cannot follow O. " + slip
    if came == ["O", "O"]:
        slip = "Word by word O looks best at first, but it closes the way to I-A. " + slip
    expect(came, ["B-A", "I-A"], slip)
    first = torch.tensor([[0.0, 1.0, 5.0, 0.0, 0.0]])
    expect(_tags(answer(first, list(names)), names), ["B-A"], "A text cannot begin with I-.")
    mixed = torch.tensor([[0.0, 5.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 4.0]])
    expect(_tags(answer(mixed, list(names)), names), ["B-A", "O"], "I-B goes on with a B, not with an A.")
    order = [2, 0, 4, 3, 1]
    for seed in range(12):
        scores = 2 * torch.randn(4, 5, generator=torch.Generator().manual_seed(seed))
        own = names if seed % 2 else [names[i] for i in order]
        best = _best_legal(scores, own)
        slip = "Of all legal answers to four words, this is not the one with the largest sum."
        expect(_tags(answer(scores.clone(), list(own)), own), best, slip)


def _best_legal(scores: Tensor, names: list[str]) -> list[str]:
    """The best of all legal answers, by trying every one."""
    legal = [tags for tags in itertools.product(range(len(names)), repeat=len(scores)) if _legal(tags, names)]
    best = max(legal, key=lambda tags: sum(float(scores[t, tag]) for t, tag in enumerate(tags)))
    return [names[tag] for tag in best]


def _legal(tags: tuple[int, ...], names: list[str]) -> bool:
    before = ["O", *(names[tag] for tag in tags)]
    return all(b[0] != "I" or (a[0] in "BI" and a[2:] == b[2:]) for a, b in itertools.pairwise(before))


def _number(came) -> float:
    if isinstance(came, Tensor) and came.numel() == 1:
        return float(came)
    if not isinstance(came, int | float):
        raise Wrong(f"it gave {came!r} where a number was expected.")
    return float(came)


def _spans(came) -> set:
    if not isinstance(came, set | list | tuple) or not all(isinstance(s, tuple) and len(s) == 3 for s in came):
        raise Wrong(f"it gave {came!r} where a set of triples was expected. Return (kind, start, end) for each entity.")
    return set(came)


def _tags(came, names: list[str]) -> list:
    if not isinstance(came, list | tuple) or not all(tag in names for tag in came):
        raise Wrong(f"it gave {came!r} where a list of tags was expected. Return their names.")
    return list(came)
