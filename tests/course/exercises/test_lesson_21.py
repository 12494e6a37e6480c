"""The slips that people make in lesson 21 are wrong, each with its own message. (Its folded solutions are right.)"""

import math
import re

import pytest
import torch
import torch.nn.functional as F

from minillm.course.exercises import grade


def chosen(gap, temperature, flipped):
    q = 1 / (1 + math.exp(-gap / temperature))
    return (1 - flipped) * q + flipped * (1 - q)


def right_accuracy(gaps, temperature, flipped):
    p = [chosen(gap, temperature, flipped) for gap in gaps]
    return sum(max(x, 1 - x) for x in p) / len(p)


def right_places(mask):
    return (mask.long() * torch.arange(mask.size(1))).amax(1)


def binned(chances, right, bins):
    """(pairs, how sure, how often right) of each bin that is not empty."""
    groups = {}
    for chance, hit in zip(chances, right):
        groups.setdefault(min(int((chance - 0.5) / 0.5 * bins), bins - 1), []).append((chance, hit))
    return [(len(g), sum(c for c, _ in g) / len(g), sum(h for _, h in g) / len(g)) for g in groups.values()]


def right_error(chances, right, bins):
    return sum(n * abs(sure - hit) for n, sure, hit in binned(chances, right, bins)) / len(chances)


def right_league(wins, steps=200):
    r = torch.zeros(len(wins), dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([r], max_iter=steps, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = -(wins * F.logsigmoid(r[:, None] - r[None, :])).sum() / wins.sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return (r - r.mean()).detach().float()


def by_zermelo(wins):
    """The other way to the same scores: each strength is its wins over what the others' strengths make of them."""
    s = torch.ones(len(wins), dtype=torch.double)
    for _ in range(2000):
        s = wins.sum(1) / ((wins + wins.T) / (s[:, None] + s[None, :])).sum(1)
        s = s / s.log().mean().exp()
    return s.log()


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("possible_accuracy", right_accuracy),
        ("places_to_read", right_places),
        ("places_to_read", lambda mask: right_places(mask).tolist()),
        ("calibration_error", right_error),
        ("league", right_league),
        ("league", by_zermelo),
    ],
)
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


@pytest.mark.parametrize("name", ["possible_accuracy", "places_to_read", "calibration_error", "league"])
def test_a_stub_is_not_answered_yet(name):
    def stub(*_):
        """A docstring, and nothing else."""
        ...

    assert grade(name, stub).status == "not answered yet"


def mean_first(gaps, temperature, flipped):
    p = sum(chosen(gap, temperature, flipped) for gap in gaps) / len(gaps)
    return max(p, 1 - p)


def share_of_wins(wins):
    share = (wins.sum(1) / (wins + wins.T).sum(1)).logit()
    return share - share.mean()


def no_last_edge(chances, right, bins):
    """A chance of 1 in a bin of its own that nobody reads."""
    kept = [(c, h) for c, h in zip(chances, right) if int((c - 0.5) / 0.5 * bins) < bins]
    return right_error([c for c, _ in kept], [h for _, h in kept], bins) if kept else math.nan


WRONG = [
    # the possible accuracy
    ("possible_accuracy", lambda g, t, f: right_accuracy(g, t, 0.0), "ticked wrongly"),
    ("possible_accuracy", lambda g, t, f: (1 - f) * right_accuracy(g, t, 0.0), "ends at the better"),
    ("possible_accuracy", lambda g, t, f: right_accuracy(g, 1.0, f), "Divide the difference"),
    ("possible_accuracy", mean_first, "[Pp]air by pair"),
    ("possible_accuracy", lambda g, t, f: sum(chosen(abs(x), t, f) for x in g) / len(g), "most tick wrongly"),
    ("possible_accuracy", lambda g, t, f: 1 - f, "heed a gap only roughly"),
    ("possible_accuracy", lambda g, t, f: "high", "a number"),
    # where to read
    ("places_to_read", lambda m: m.sum(1) - 1, "padding stands before"),
    ("places_to_read", lambda m: torch.full((len(m),), m.size(1) - 1), "last place"),
    ("places_to_read", lambda m: m.sum(1), "one behind"),
    ("places_to_read", lambda m: m.long().argmax(1), "first real token"),
    ("places_to_read", lambda m: m.size(1) - 1, "each of 3 rows"),
    # calibration in a number
    ("calibration_error", lambda c, r, b: sum(abs(s - h) for _, s, h in binned(c, r, b)) / 2, "counts by its pairs"),
    ("calibration_error", lambda c, r, b: sum(abs(s - h) for _, s, h in binned(c, r, b)), "its share of the pairs"),
    ("calibration_error", lambda c, r, b: abs(sum(c) - sum(r)) / len(c), "[Bb]in by bin"),
    ("calibration_error", lambda c, r, b: sum(abs(x - h) for x, h in zip(c, r)) / len(c), "not pair by pair"),
    ("calibration_error", no_last_edge, "last bin"),
    ("calibration_error", lambda c, r, b: None if c else 0, "a number"),
    # a league
    ("league", lambda w: -right_league(w), "Turned round"),
    ("league", lambda w: right_league(w) - right_league(w)[-1], "mean is 0"),
    ("league", share_of_wins, "against whom"),
    ("league", lambda w: w.sum(1) / (w + w.T).sum(1), "share of wins"),
    ("league", lambda w: right_league(w, steps=3) * 0.9, "ln 2"),
    ("league", lambda w: right_league(w)[0], "a score for each"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
