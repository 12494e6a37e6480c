"""The slips that people make in lesson 12 are wrong, each with its own message. (Its folded solutions are right.)"""

import re

import pytest
import torch

from minillm.course.exercises import grade
from minillm.metrics import accuracy, entity_spans


def right_mean(x, mask):
    weights = mask[..., None].float()
    return (x * weights).sum(1) / weights.sum(1).clamp(min=1)


def right_spans(tags):
    spans, start = set(), None
    for place, tag in enumerate([*tags, "O"]):
        if start is not None and tag != f"I-{tags[start][2:]}":
            spans.add((tags[start][2:], start, place))
            start = None
        if start is None and tag != "O":
            start = place
    return spans


def right_recall(similarity, k):
    own = similarity.diagonal()[:, None]
    return float(((similarity >= own).sum(1) <= k).float().mean())


def f1_of(c, truth, predicted):
    right = sum(a == b == c for a, b in zip(truth, predicted))
    return 2 * right / (truth.count(c) + predicted.count(c))


def right_f1(truth, predicted):
    classes = set(truth) | set(predicted)
    return sum(f1_of(c, truth, predicted) for c in classes) / len(classes)


def follows(before, tag):
    return tag[0] != "I" or (before[0] in "BI" and before[2:] == tag[2:])


def right_legal(scores, names):
    best = {}
    for row in scores.tolist():
        grown = {}
        for tag, score in zip(names, row):
            pasts = [(total, path) for total, path in best.values() if follows(path[-1], tag)]
            pasts = pasts if best else [(0.0, [])] * follows("O", tag)
            if pasts:
                total, path = max(pasts, key=lambda past: past[0])
                grown[tag] = (total + score, [*path, tag])
        best = grown
    return max(best.values(), key=lambda past: past[0])[1]


def legal_from_the_left(scores, names):
    tags = ["O"]
    for row in scores:
        allowed = [i for i, name in enumerate(names) if follows(tags[-1], name)]
        tags.append(names[max(allowed, key=lambda i: float(row[i]))])
    return tags[1:]


def careless(scores, names, allowed):
    """The best answer of those that `allowed` lets through, by trying all."""
    from itertools import product

    rows = scores.tolist()
    answers = [a for a in product(range(len(names)), repeat=len(rows)) if allowed([names[i] for i in a])]
    return [names[i] for i in max(answers, key=lambda a: sum(row[i] for row, i in zip(rows, a)))]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("mean_of_real_tokens", right_mean),
        ("spans_of_tags", right_spans),
        ("recall_at", right_recall),
        ("mean_f1", right_f1),
        ("legal_tags", right_legal),
    ],
)
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


WRONG = [
    # the mean over real tokens
    ("mean_of_real_tokens", lambda x, m: x.mean(1), "is padding"),
    ("mean_of_real_tokens", lambda x, m: (x * m[..., None]).mean(1), "divide by those"),
    ("mean_of_real_tokens", lambda x, m: (x * m[..., None]).sum(1), "That is the sum"),
    ("mean_of_real_tokens", lambda x, m: right_mean(x, m)[0], "Keep the batch"),
    (
        "mean_of_real_tokens",
        lambda x, m: torch.stack([row[: int(n)].mean(0) for row, n in zip(x, m.sum(1))]),
        "not a length from the left",
    ),
    ("mean_of_real_tokens", lambda x, m: (x * m[..., None]).sum(1) / m.sum(1)[:, None], "not 0/0"),
    # spans
    ("spans_of_tags", lambda tags: {(k, a, b - 1) for k, a, b in entity_spans(tags)}, "as in a slice"),
    ("spans_of_tags", lambda tags: {s for s in entity_spans(tags) if s[2] < len(tags)}, "close what is still open"),
    (
        "spans_of_tags",
        lambda tags: {(t[2:], i, i + 1) for i, t in enumerate(tags) if t[0] == "B"},
        "one thing",
    ),
    ("spans_of_tags", lambda tags: {(f"B-{k}", a, b) for k, a, b in entity_spans(tags)}, "after B- or I-"),
    (
        "spans_of_tags",
        lambda tags: right_spans([t.replace("B-PER", "I-PER") for t in tags]),
        "right behind another",
    ),
    (
        "spans_of_tags",
        lambda tags: {s for s in entity_spans(tags) if tags[s[1]][0] == "B"},
        "begins an entity of its own",
    ),
    ("spans_of_tags", lambda tags: [tags[0]], "a set of triples"),
    # recall
    ("recall_at", lambda s, k: right_recall(s.T, k), "along a row"),
    ("recall_at", lambda s, k: right_recall(s, k + 1), "no rival may stand before"),
    ("recall_at", lambda s, k: right_recall(s, 1), "With k = 2"),
    ("recall_at", lambda s, k: round(right_recall(s, k) * len(s)), "not their number"),
    (
        "recall_at",
        lambda s, k: float(((s > s.diagonal()[:, None]).sum(1) < k).float().mean()),
        "equally near",
    ),
    # macro F1
    ("mean_f1", accuracy, "That is accuracy"),
    (
        "mean_f1",
        lambda t, p: sum(t.count(c) * f1_of(c, t, p) for c in set(t)) / len(t),
        "weighted by size",
    ),
    ("mean_f1", lambda t, p: f1_of(t[0], t, p), "of one class"),
    (
        "mean_f1",
        lambda t, p: sum(f1_of(c, t, p) for c in set(t) & set(p)) / len(set(t) & set(p)),
        "never names",
    ),
    ("mean_f1", lambda t, p: sum(f1_of(c, t, p) for c in set(t)) / len(set(t)), "only the model names"),
    ("mean_f1", lambda t, p: [1.0], "a number was expected"),
    # the best legal tags
    ("legal_tags", lambda s, names: [names[i] for i in s.argmax(1)], "I-A cannot follow O"),
    ("legal_tags", legal_from_the_left, "Word by word"),
    (
        "legal_tags",
        lambda s, names: careless(s, names, lambda t: all(map(follows, t, t[1:]))),
        "cannot begin with I-",
    ),
    (
        "legal_tags",
        lambda s, names: careless(s, names, lambda t: all(b[0] != "I" or a != "O" for a, b in zip(["O", *t], t))),
        "not with an A",
    ),
    (
        "legal_tags",
        lambda s, names: right_legal(s, names) if names[0] == "O" else right_legal(-s, names),
        "largest sum",
    ),
    ("legal_tags", lambda s, names: s.argmax(1).tolist(), "Return their names"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
