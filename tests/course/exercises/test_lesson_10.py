"""The slips that people make in lesson 10 are wrong, each with its own message. (Its folded solutions are right.)"""

import re

import pytest
import torch

from minillm.course.exercises import grade

NO = -100


def right_mean(h, mask):
    weights = mask[..., None].to(h.dtype)
    return (h * weights).sum(1) / weights.sum(1).clamp(min=1)


def right_targets(ids, mask):
    real = [a and b for a, b in zip(mask, mask[1:])]
    return [i if r else NO for i, r in zip(ids[1:], real)] + [NO]


def right_instruction(prompt, answer, bos, user, assistant, eos):
    before, after = [bos, user, *prompt, assistant], [*answer, eos]
    return before + after, [NO] * len(before) + after


def tags_on(words, tags, begin, end, context, every=False, ignored=NO, frame=True, cut=2):
    """The right answer, with places where it can be made wrong."""
    ids = [i for word in words for i in word]
    labels = [x for word, tag in zip(words, tags) for x in [tag] + [tag if every else ignored] * (len(word) - 1)]
    ids, labels = ids[: context - cut], labels[: context - cut]
    return [begin, *ids, end], [NO, *labels, NO] if frame else [*labels, NO, NO]


def feels(reader, text, longer, pad_id, tolerance=1e-4, orders=2, by_id=False):
    """The right answer, with places where it can be made wrong."""

    def vectors(*rows):
        longest = max(map(len, rows))
        ids = torch.tensor([row + [pad_id] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return reader(ids, (ids != pad_id).long() if by_id and len(rows) > 1 else mask)

    alone = vectors(text)[0]
    beside = [vectors(text, longer)[0], vectors(longer, text)[1]][:orders]
    return any(bool((alone - vector).abs().max() > tolerance) for vector in beside)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("mean_of_real", right_mean),
        ("next_targets", right_targets),
        ("instruction_row", right_instruction),
        ("tags_on_tokens", tags_on),
        ("feels_its_neighbour", feels),
    ],
)
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


def changed(change):
    """An instruction whose labels are changed: change(ids, labels, place of the answer)."""

    def answer(prompt, answer, bos, user, assistant, eos):
        ids, labels = right_instruction(prompt, answer, bos, user, assistant, eos)
        return change(ids, labels, len(prompt) + 3)

    return answer


WRONG = [
    # the mean
    ("mean_of_real", lambda h, mask: h.mean(1), "the padding counts"),
    ("mean_of_real", lambda h, mask: (h * mask[..., None]).mean(1), "divide by T"),
    ("mean_of_real", lambda h, mask: (h * mask[..., None]).sum(1), "That is the sum"),
    ("mean_of_real", lambda h, mask: right_mean(h, mask)[0], "Keep the dimension B"),
    ("mean_of_real", lambda h, mask: h[:, : mask.sum()].mean(1), "on the left"),
    ("mean_of_real", lambda h, mask: (h * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), "not 0 / 0"),
    ("mean_of_real", lambda h, mask: (h * mask[..., None]).sum(1) / mask[0].sum().clamp(min=1), "its own number"),
    # the targets
    ("next_targets", lambda ids, mask: [i if m else NO for i, m in zip(ids, mask)], "not shifted"),
    ("next_targets", lambda ids, mask: [*ids[1:], NO], "Padding is learned"),
    ("next_targets", lambda ids, mask: [i if m else NO for i, m in zip(ids[1:], mask)] + [NO], "have to say padding"),
    ("next_targets", lambda ids, mask: [*right_targets(ids, mask)[1:], NO], "shifted twice"),
    ("next_targets", lambda ids, mask: [NO, *right_shift(ids, mask)], "the wrong way"),
    ("next_targets", lambda ids, mask: [i for i in right_targets(ids, mask) if i != NO], "One entry for each"),
    ("next_targets", lambda ids, mask: [NO if i == 4 else i for i in right_targets(ids, mask)], "The end"),
    (
        "next_targets",
        lambda ids, mask: [i if i != ids[-1] or all(mask) else NO for i in ids[1:]] + [NO],
        "An id proves nothing",
    ),
    (
        "next_targets",
        lambda ids, mask: [i if m else NO for i, m in zip(ids[1:], mask[1:])] + [NO],
        "nothing announces the first",
    ),
    ("next_targets", lambda ids, mask: 3, "a list of whole numbers"),
    # an instruction
    ("instruction_row", changed(lambda ids, labels, at: (ids, ids)), "the question too"),
    ("instruction_row", changed(lambda ids, labels, at: (ids, [*labels[:-1], NO])), "never stops"),
    (
        "instruction_row",
        changed(lambda ids, labels, at: (ids, [NO] * (at - 1) + ids[at - 1 :])),
        "belongs to the prompt",
    ),
    ("instruction_row", changed(lambda ids, labels, at: (ids, [*labels[1:], NO])), "the loss shifts"),
    (
        "instruction_row",
        changed(lambda ids, labels, at: (ids, [i if i in ids[at:] else NO for i in ids])),
        "by places, not by ids",
    ),
    ("instruction_row", changed(lambda ids, labels, at: (ids[:-1], labels[:-1])), "The row ends with eos"),
    ("instruction_row", changed(lambda ids, labels, at: (ids, ids[at:])), "A label for each id"),
    ("instruction_row", changed(lambda ids, labels, at: ids), "a pair was expected"),
    (
        "instruction_row",
        lambda p, a, bos, user, assistant, eos: right_instruction(p, a, 1, 2, 3, 4),
        "the signs that are given",
    ),
    # tags
    ("tags_on_tokens", lambda *a: tags_on(*a, every=True), "Only the first token"),
    ("tags_on_tokens", lambda *a: tags_on(*a, frame=False), "The first token of the frame"),
    ("tags_on_tokens", lambda *a: tags_on(*a, ignored=0), "0 is a class"),
    ("tags_on_tokens", lambda *a: tuple(row[1:-1] for row in tags_on(*a)), "The frame is missing"),
    ("tags_on_tokens", lambda *a: tuple(row[: a[4]] for row in tags_on(*a[:4], 99)), "The end was cut off"),
    ("tags_on_tokens", lambda *a: tags_on(*a[:4], 99), "the frame included"),
    ("tags_on_tokens", lambda *a: tags_on(*a, cut=1), "room for 3"),
    # the test
    ("feels_its_neighbour", lambda *a: False, "counts padding"),
    ("feels_its_neighbour", lambda *a: True, "does not feel padding"),
    ("feels_its_neighbour", lambda *a: feels(*a, tolerance=0), "do not ask for =="),
    ("feels_its_neighbour", lambda *a: feels(*a, tolerance=0.1), "A leak of 0.01"),
    ("feels_its_neighbour", lambda *a: feels(*a, orders=1), "and then second"),
    ("feels_its_neighbour", lambda *a: feels(*a, by_id=True), "from the lengths"),
    ("feels_its_neighbour", lambda *a: torch.tensor(True), "True or False"),
]


def right_shift(ids, mask):
    return [i if m else NO for i, m in zip(ids[:-1], mask[1:])]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
