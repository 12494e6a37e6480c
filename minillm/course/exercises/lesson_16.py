"""Graders of lesson 16: which tokens are learned, the loss of each answer, who may look at whom, varied examples."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minillm.course.exercises import Wrong, exercise, expect, likely_slip

ASSISTANT, EOS = 8, 2


@exercise("learned_places")
def grade_learned_places(answer: Callable) -> None:
    """One turn and two turns by hand, a conversation that was cut off, one without an answer."""
    came = _bits(answer([1, 7, 20, 21, 8, 30, 2], ASSISTANT, EOS), 7)
    slips = [
        ([0, 0, 0, 0, 1, 1, 1], "The token that opens the assistant's turn is given to it, not said by it."),
        ([0, 0, 0, 0, 0, 1, 0], "The end is learned too: without it the assistant never stops."),
        ([0, 0, 0, 0, 1, 1, 0], "Labels stand at their own token, not one place before: the loss shifts, nobody else."),
        ([0, 0, 0, 0, 0, 0, 1], "The first token of the answer is learned too."),
        ([1, 1, 1, 1, 1, 0, 0], "True is what is learned: the answer, not the question."),
        ([1, 1, 1, 1, 1, 1, 1], "Only what the assistant says is learned, not the question."),
    ]
    slip = likely_slip(came, slips, "Behind <|assistant|> learning begins, and behind <|eos|> it stops.")
    expect(came, [0, 0, 0, 0, 0, 1, 1], slip)
    two = [1, 7, 20, 8, 30, 2, 7, 22, 23, 8, 31, 32, 2]
    came = _bits(answer(two, ASSISTANT, EOS), len(two))
    slips = [
        ([0] * 4 + [1] * 9, "The second question came after the first answer, and it is no answer: stop at each end."),
        ([0] * 10 + [1] * 3, "Every answer of a conversation is learned, not only the last."),
        ([0] * 4 + [1] * 2 + [0] * 7, "Every answer of a conversation is learned, not only the first."),
    ]
    slip = likely_slip(came, slips, "Here are two turns, the answers are [30, 2] and [31, 32, 2].")
    expect(came, [0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1], slip)
    came = _bits(answer([1, 7, 20, 8, 30, 31], ASSISTANT, EOS), 6)
    expect(came, [0, 0, 0, 0, 1, 1], "An answer that was cut off has no end, and what is there of it is learned.")
    expect(_bits(answer([1, 7, 20, 21], ASSISTANT, EOS), 4), [0] * 4, "Where no answer is, nothing is learned.")
    came = _bits(answer([1, 7, 5, 3, 6, 2], 3, 2), 6)
    expect(came, [0, 0, 0, 0, 1, 1], "Use the ids that are given: assistant is 3 here.")


@exercise("answer_losses")
def grade_answer_losses(answer: Callable) -> None:
    """Probabilities of a half, and an eighth by hand; random conversations against a slow loop."""
    labels = torch.tensor([-100, -100, 1, 2, -100, -100, 3])
    right = [0.9, 0.5, 0.125, 0.9, 0.9, 0.5, 0.9]  # what each place gives to the token after it
    logits = _logits(torch.tensor([0, 0, 1, 2, 0, 0, 3]), right, 4)
    came = _numbers(answer(logits.clone(), labels.clone()))
    log2 = math.log(2)
    slips = [
        ([4 * log2, log2], "That is the sum of each answer: take the mean, or long answers look bad."),
        ([5 / 3 * log2], "That is the mean over all that is learned: one number for each answer."),
        ([log2, 3 * log2, log2], "That is one number for each token: take the mean of each answer."),
    ]
    unshifted = -logits.log_softmax(-1)
    aligned = [(unshifted[2, 1] + unshifted[3, 2]).item() / 2, unshifted[6, 3].item()]
    slips.append((aligned, "The logits at place t are about the token at t + 1: shift."))
    slip = likely_slip(came, slips, "The first answer has -ln(1/2) and -ln(1/8), the second -ln(1/2).")
    expect(came, [2 * log2, log2], slip)
    generator = torch.Generator().manual_seed(0)
    for begins in (False, True):
        logits = torch.randn(12, 5, generator=generator)
        labels = torch.randint(5, (12,), generator=generator)
        labels[[0, 1, 4, 5, 9]] = -100
        if begins:
            labels[0] = 3
        slip = "On random logits it differs. Are there three answers, at places 2 and 3, 6 to 8, and 10 and 11?"
        if begins:
            slip = "The token at place 0 is announced by nothing: it has no loss, and is no answer."
        expect(_numbers(answer(logits.clone(), labels.clone())), _slowly(logits, labels), slip)
    logits, labels = torch.randn(3, 5, generator=generator), torch.full((3,), -100)
    expect(_numbers(answer(logits, labels)), [], "Where nothing is learned there is no answer: an empty list.")


@exercise("may_look")
def grade_may_look(answer: Callable) -> None:
    """Two texts and padding by hand; rows of one text; the three rules on a long row."""
    came = _square(answer([1, 1, 2, 2, 0]), 5)
    right = torch.tensor([[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0]]).bool()
    same = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0]]).bool()
    padded = torch.diag(torch.tensor([0, 0, 0, 0, 1])).bool()
    causal = torch.ones(5, 5).bool().tril()
    slips = [
        (right | padded, "Padding looks nowhere, and nobody looks at it: number 0 is no text."),
        (same, "A token may not look at what comes after it."),
        (same | padded, "A token may not look at what comes after it, and padding looks nowhere."),
        (causal, "The second text sees the first: look only where the number is the same."),
        (causal & (torch.tensor([1, 1, 1, 1, 0]).bool()), "The second text sees the first: compare the numbers."),
        (right.T, "Rows are those who look, columns what is looked at: it is turned around."),
        (right & ~torch.eye(5).bool(), "Every real token sees itself."),
    ]
    slip = likely_slip(
        came.int(), [(table.int(), words) for table, words in slips], "Row t says where token t may look."
    )
    expect(came.int(), right.int(), slip)
    expect(_square(answer([1, 1, 1]), 3).int(), torch.ones(3, 3).tril().int(), "One text alone: the causal triangle.")
    numbers = torch.tensor([1] * 3 + [2] + [3] * 4 + [0] * 2)
    slow = [[int(s <= t and a == b and a > 0) for s, b in enumerate(numbers)] for t, a in enumerate(numbers)]
    came = _square(answer(numbers.tolist()), len(numbers)).int()
    expect(came, torch.tensor(slow).int(), "On three texts and two places of padding it differs.")


@exercise("choose_varied")
def grade_choose_varied(answer: Callable) -> None:
    """A small choice by hand, ties, everything covered, and more asked for than there is."""
    kinds = [["who", "who", "who"], ["who", "list"], ["list", "when", "where"], ["who", "when"]]
    came = _places(answer(kinds, 2))
    slips = [
        ([2, 1], "After conversation 2 the kinds list, when and where are covered: count only what is new."),
        ([0, 2], "The first chosen is that with the most *different* kinds: three times who is one kind."),
        ([0, 1], "Those are the first two. Take each time the one with the most kinds that are not covered yet."),
        ([2, 3], "Where two add equally much, the one that comes first is taken: 0, not 3."),
    ]
    slip = likely_slip(came, slips, "First 2 (three kinds), then one that adds who: 0 comes first.")
    expect(came, [2, 0], slip)
    came = _places(answer(kinds, 4))
    slip = (
        "Everything is covered after 2 and 0. Then begin anew, as if nothing were covered: of 1 and 3, which have two "
        "kinds each, the first; then the last."
    )
    if len(set(came)) < len(came):
        slip = "Each conversation can be taken once only."
    expect(came, [2, 0, 1, 3], slip)
    came = _places(answer(kinds, 9))
    expect(came, [2, 0, 1, 3], "There are only four: stop when none is left.")
    expect(_places(answer([["a"], ["b", "a"], ["c"], ["b"]], 3)), [1, 2, 0], "First b and a, then c; then anew.")
    expect(_places(answer(kinds, 0)), [], "None asked for, none taken.")


def _logits(tokens: Tensor, probabilities: list[float], vocabulary: int) -> Tensor:
    """Logits (T, V) that give the token t + 1 the t-th probability, and the others equal shares of the rest."""
    after = torch.tensor([*tokens.tolist()[1:], 0])
    rows = [[p if v == token else (1 - p) / (vocabulary - 1) for v in range(vocabulary)]
            for token, p in zip(after.tolist(), probabilities)]  # fmt: skip
    return torch.tensor(rows).log()


def _slowly(logits: Tensor, labels: Tensor) -> list[float]:
    """The oracle: token after token."""
    found, run = [], []
    for place in range(1, len(labels)):
        if labels[place] >= 0:
            run.append(-logits[place - 1].log_softmax(-1)[labels[place]].item())
        elif run:
            found, run = [*found, sum(run) / len(run)], []
    return [*found, sum(run) / len(run)] if run else found


def _bits(came, length: int) -> list[int]:
    came = came.tolist() if isinstance(came, Tensor) else came
    if not isinstance(came, list | tuple) or len(came) != length:
        raise Wrong(f"it gave {came!r} where a list of {length} booleans was expected, one for each token.")
    return [int(bool(value)) for value in came]


def _numbers(came) -> list[float]:
    came = came.tolist() if isinstance(came, Tensor) else came
    if not isinstance(came, list | tuple):
        raise Wrong(f"it gave {came!r} where a list of losses was expected, one for each answer.")
    return [float(value) for value in came]


def _square(came, size: int) -> Tensor:
    try:
        came = torch.as_tensor(came)
    except (TypeError, ValueError):
        raise Wrong(f"it gave {came!r} where a table of booleans was expected.") from None
    if tuple(came.shape) != (size, size):
        raise Wrong(f"it gave a table of shape {tuple(came.shape)} where {(size, size)} was expected.")
    return came.bool()


def _places(came) -> list[int]:
    came = came.tolist() if isinstance(came, Tensor) else came
    if not isinstance(came, list | tuple):
        raise Wrong(f"it gave {came!r} where a list of places was expected.")
    return [int(value) for value in came]
