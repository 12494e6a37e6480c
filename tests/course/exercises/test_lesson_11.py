"""The slips that people make in lesson 11 are wrong, each with its own message. (Its folded solutions are right.)"""

import math
import re

import pytest
import torch

from minillm.course.exercises import grade


def right_loss(logits, labels):
    keep = labels != -100
    if not keep.any():
        return 0.0
    return -logits.log_softmax(-1)[keep, labels[keep]].mean()


def hide(ids, select, fate, random_ids, mask_id, special, share=0.8, changed_only=False, spare=True):
    """The right answer, with three places where it can be made wrong."""
    read, labels = list(ids), [-100] * len(ids)
    for t, token in enumerate(ids):
        if select[t] < 0.15 and not (spare and token in special):
            if fate[t] < 0.9 or not changed_only:
                labels[t] = token
            if fate[t] < share:
                read[t] = mask_id
            elif fate[t] < 0.9:
                read[t] = random_ids[t]
    return read, labels


def fill(step_logprob, ids, compute, candidates, begin=0, reach=100):
    def score(candidate):
        text = [*ids[:compute], candidate, *ids[compute + 1 :]]
        return sum(step_logprob(text[:t], text[t]) for t in range(compute + begin, min(len(text), compute + reach)))

    return max(candidates, key=score)


def pseudo(predict, ids, mask_id, special):
    total = 0.0
    for t, token in enumerate(ids):
        if token not in special:
            total += float(predict([*ids[:t], mask_id, *ids[t + 1 :]])[t].log_softmax(-1)[token])
    return total


def pseudo_seen(predict, ids, mask_id, special):
    return sum(float(predict(ids)[t].log_softmax(-1)[i]) for t, i in enumerate(ids) if i not in special)


def pseudo_at_once(predict, ids, mask_id, special):
    read = [i if i in special else mask_id for i in ids]
    return sum(float(predict(read)[t].log_softmax(-1)[i]) for t, i in enumerate(ids) if i not in special)


def pseudo_left(predict, ids, mask_id, special):
    rows = [(predict([*ids[:t], mask_id])[t], i) for t, i in enumerate(ids) if i not in special]
    return sum(float(row.log_softmax(-1)[i]) for row, i in rows)


@pytest.mark.parametrize(
    ("name", "answer"),
    [("masked_loss", right_loss), ("hide_tokens", hide), ("fill_by_scoring", fill), ("pseudo_logprob", pseudo)],
)
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


def changed(read_and_labels):
    read, labels = read_and_labels
    return read, [-100 if label == -100 else token for token, label in zip(read, labels)]


WRONG = [
    # the masked loss
    ("masked_loss", lambda z, y: right_loss(z, y) * (y != -100).sum(), "That is the sum"),
    ("masked_loss", lambda z, y: right_loss(z, y) * (y != -100).sum() / len(y), "all positions"),
    ("masked_loss", lambda z, y: right_loss(z, y) / math.log(2), "in bits"),
    ("masked_loss", lambda z, y: -right_loss(z, y), "The sign"),
    ("masked_loss", lambda z, y: right_loss(z[:-1], y[1:]), "no shift here"),
    ("masked_loss", lambda z, y: -z.log_softmax(-1)[range(len(y)), y.clamp(min=0)].mean(), "as if the label were 0"),
    ("masked_loss", lambda z, y: right_loss(z, y.masked_fill(y == 0, -100)), "0 is a label like any other"),
    ("masked_loss", lambda z, y: torch.nn.functional.cross_entropy(z, y), "mean of nothing"),
    # hiding
    ("hide_tokens", lambda *a: hide(*a, spare=False), "never selected"),
    ("hide_tokens", lambda *a: hide(*a, changed_only=True), "stays is asked for too"),
    ("hide_tokens", lambda *a: hide(*a, share=1.0), "below 0.8 become the mask"),
    ("hide_tokens", lambda *a: changed(hide(*a)), "the original, not what is read"),
    ("hide_tokens", lambda *a: (hide(*a)[0], list(a[0])), "every row would count"),
    ("hide_tokens", lambda ids, s, *a: hide(ids, [x - 1e-9 for x in s], *a), "The edges"),
    ("hide_tokens", lambda *a: hide(*a)[0][0], "a pair was expected"),
    # filling by scoring
    ("fill_by_scoring", lambda *a: fill(*a, reach=1), "only the left side"),
    ("fill_by_scoring", lambda *a: fill(*a, begin=1), "own log-probability is a part"),
    ("fill_by_scoring", lambda *a: fill(*a, reach=2), "to the end"),
    ("fill_by_scoring", lambda f, ids, compute, c: fill(f, ids, compute, c[::-1]), "the first is asked for"),
    # the pseudo-log-likelihood
    ("pseudo_logprob", lambda p, ids, m, special: pseudo(p, ids, m, set()), "Special tokens are skipped"),
    ("pseudo_logprob", lambda *a: pseudo(*a) / 3, "That is the mean"),
    ("pseudo_logprob", lambda *a: -pseudo(*a), "The sign"),
    ("pseudo_logprob", lambda *a: pseudo(*a) / math.log(2), "in bits"),
    ("pseudo_logprob", pseudo_seen, "could read the answer"),
    ("pseudo_logprob", pseudo_at_once, "All were masked at once"),
    ("pseudo_logprob", pseudo_left, "only the left side"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
