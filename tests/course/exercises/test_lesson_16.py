"""The slips that people make in lesson 16 are wrong, each with its own message. (Its folded solutions are right.)"""

import re

import pytest
import torch
import torch.nn.functional as F

from minillm.course.exercises import grade


def right_places(ids, assistant, eos):
    learned, answering = [], False
    for token in ids:
        learned.append(answering)
        if token == assistant:
            answering = True
        elif token == eos:
            answering = False
    return learned


def right_losses(logits, labels):
    losses = F.cross_entropy(logits[:-1], labels[1:].clamp(min=0), reduction="none").tolist()
    runs = [[]]
    for loss, label in zip(losses, labels[1:].tolist()):
        if label >= 0:
            runs[-1].append(loss)
        else:
            runs.append([])
    return [sum(run) / len(run) for run in runs if run]


def right_look(numbers):
    n = torch.tensor(numbers)
    return (n[:, None] == n[None, :]) & (n[:, None] > 0) & torch.ones(len(n), len(n)).bool().tril()


def right_choice(kinds, n):
    left, covered, chosen = list(range(len(kinds))), set(), []
    while left and len(chosen) < n:
        if not any(set(kinds[i]) - covered for i in left):
            covered = set()
        best = max(left, key=lambda i: len(set(kinds[i]) - covered))
        covered |= set(kinds[best])
        left.remove(best)
        chosen.append(best)
    return chosen


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("learned_places", right_places),
        ("answer_losses", right_losses),
        ("may_look", right_look),
        ("choose_varied", right_choice),
    ],
)
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


def with_opening(ids, assistant, eos):
    return [on or token == assistant for token, on in zip(ids, right_places(ids, assistant, eos))]


def without_end(ids, assistant, eos):
    return [on and token != eos for token, on in zip(ids, right_places(ids, assistant, eos))]


def shifted(ids, assistant, eos):
    return [*right_places(ids, assistant, eos)[1:], False]


def never_stops(ids, assistant, eos):
    begin = ids.index(assistant) + 1 if assistant in ids else len(ids)
    return [place >= begin for place in range(len(ids))]


def last_only(ids, assistant, eos):
    begin = len(ids) - ids[::-1].index(assistant) if assistant in ids else len(ids)
    return [place >= begin for place in range(len(ids))]


def first_only(ids, assistant, eos):
    found = right_places(ids, assistant, eos)
    end = ids.index(eos) if eos in ids else len(ids)
    return [on and place <= end for place, on in enumerate(found)]


def one_mean(logits, labels):
    return [F.cross_entropy(logits[:-1], labels[1:]).item()]


def token_by_token(logits, labels):
    return F.cross_entropy(logits[:-1], labels[1:], reduction="none")[labels[1:] >= 0].tolist()


def sums(logits, labels):
    counts = [len(run) for run in re.findall("1+", "".join("01"[int(x >= 0)] for x in labels[1:].tolist()))]
    return [loss * n for loss, n in zip(right_losses(logits, labels), counts)]


def not_shifted(logits, labels):
    return right_losses(torch.cat([logits[1:], logits[:1]]), labels)


def announced(logits, labels):
    """Counts a label at place 0, whose logits are those of the last place."""
    return right_losses(torch.cat([logits[-1:], logits]), torch.cat([torch.tensor([-100]), labels]))


def not_causal(numbers):
    n = torch.tensor(numbers)
    return (n[:, None] == n[None, :]) & (n[:, None] > 0)


def with_padding(numbers):
    n = torch.tensor(numbers)
    return (n[:, None] == n[None, :]) & torch.ones(len(n), len(n)).bool().tril()


def most_kinds(kinds, n):
    return sorted(range(len(kinds)), key=lambda i: -len(set(kinds[i])))[:n]


def most_answers(kinds, n):
    return right_choice([[f"{place} {kind}" for place, kind in enumerate(own)] for own in kinds], n)


def last_of_equals(kinds, n):
    return [len(kinds) - 1 - i for i in right_choice(kinds[::-1], n)]


def stops_when_covered(kinds, n):
    chosen = right_choice(kinds, n)
    covered = [set().union(*(kinds[i] for i in chosen[:k])) for k in range(len(chosen) + 1)]
    return [i for k, i in enumerate(chosen) if covered[k] != set().union(*kinds)]


WRONG = [
    # which tokens are learned
    ("learned_places", with_opening, "is given to it"),
    ("learned_places", without_end, "never stops"),
    ("learned_places", shifted, "one place before|the loss shifts"),
    ("learned_places", never_stops, "stop at each end"),
    ("learned_places", last_only, "not only the last"),
    ("learned_places", first_only, "not only the first"),
    ("learned_places", lambda ids, a, e: [not on for on in right_places(ids, a, e)], "not the question"),
    ("learned_places", lambda ids, a, e: [True] * len(ids), "Only what the assistant says"),
    ("learned_places", lambda ids, a, e: right_places(ids, 8, 2), "ids that are given"),
    ("learned_places", lambda ids, a, e: 3, "a list of 7 booleans"),
    # the loss of each answer
    ("answer_losses", sums, "take the mean"),
    ("answer_losses", one_mean, "one number for each answer"),
    ("answer_losses", token_by_token, "mean of each answer"),
    ("answer_losses", not_shifted, "shift"),
    ("answer_losses", announced, "announced by nothing"),
    ("answer_losses", lambda logits, labels: 0.5, "a list of losses"),
    # who may look at whom
    ("may_look", not_causal, "comes after it"),
    ("may_look", with_padding, "number 0 is no text"),
    ("may_look", lambda n: torch.ones(len(n), len(n)).tril(), "sees the first"),
    ("may_look", lambda n: right_look(n).T, "turned around"),
    ("may_look", lambda n: right_look(n) & ~torch.eye(len(n)).bool(), "sees itself"),
    ("may_look", lambda n: n, "shape"),
    # varied examples
    ("choose_varied", most_kinds, "count only what is new"),
    ("choose_varied", most_answers, "different"),
    ("choose_varied", lambda kinds, n: list(range(len(kinds)))[:n], "first two"),
    ("choose_varied", last_of_equals, "comes first"),
    ("choose_varied", stops_when_covered, "begin anew"),
    ("choose_varied", lambda kinds, n: right_choice(kinds, 2)[:n] + right_choice(kinds, 2)[: n - 2], "once only"),
    ("choose_varied", lambda kinds, n: 2, "a list of places"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
