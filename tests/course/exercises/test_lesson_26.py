"""The slips that people make in lesson 26 are wrong, each with its own message. (Its folded solutions are right.)"""

import re

import pytest
import torch

from minillm.course.exercises import grade


def right_majority(train, test):
    commonest = min(set(train), key=lambda label: (-train.count(label), label))
    return test.count(commonest) / len(test)


def right_direction(x, labels):
    return x[labels == 1].mean(0) - x[labels == 0].mean(0)


def right_share(here, there, patched):
    return (patched.mean() - here.mean()) / (there.mean() - here.mean())


def right_run(layers, x, source, site, where):
    streams = [(x, source)]
    for layer in layers[:site]:
        streams.append((layer(streams[-1][0]), layer(streams[-1][1])))
    x = torch.where(where[:, None], streams[site][1], streams[site][0])
    for layer in layers[site:]:
        x = layer(x)
    return x


RIGHT = {
    "majority_accuracy": right_majority, "direction": right_direction, "share_of_the_way": right_share,
    "patch_run": right_run,
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_is_right(name):
    assert grade(name, RIGHT[name]).status == "right", grade(name, RIGHT[name])


def stub(*arguments):
    """An answer that nobody has written yet."""
    ...


@pytest.mark.parametrize("name", RIGHT)
def test_an_untouched_exercise_is_not_answered_yet(name):
    assert grade(name, stub).status == "not answered yet"


def of_the_test(train, test):
    return right_majority(test, test)


def largest_of_equals(train, test):
    commonest = max(set(train), key=lambda label: (train.count(label), label))
    return test.count(commonest) / len(test)


def on_and_on(layers, x, source, site, where):
    for number in range(len(layers) + 1):
        if number >= site:
            x = torch.where(where[:, None], source, x)
        if number < len(layers):
            x, source = layers[number](x), layers[number](source)
    return x


def after_the_layer(layers, x, source, site, where):
    for number, layer in enumerate(layers):
        x, source = layer(x), layer(source)
        if number == site:
            x = torch.where(where[:, None], source, x)
    return x


def the_text_itself(layers, x, source, site, where):
    for layer in layers[:site]:
        x = layer(x)
    x = torch.where(where[:, None], source, x)
    for layer in layers[site:]:
        x = layer(x)
    return x


WRONG = [
    ("majority_accuracy", of_the_test, "nobody has seen"),
    ("majority_accuracy", lambda a, b: right_majority(a, a), "of the training labels: count"),
    ("majority_accuracy", lambda a, b: right_majority(a, b) * len(b), "a count"),
    ("majority_accuracy", largest_of_equals, "smallest label"),
    ("majority_accuracy", lambda a, b: "0.4", "a number was expected"),
    ("direction", lambda x, y: -right_direction(x, y), "sign is turned"),
    ("direction", lambda x, y: x[y == 1].sum(0) - x[y == 0].sum(0), "sums"),
    ("direction", lambda x, y: right_direction(x, y) / right_direction(x, y).norm(), "normalised"),
    ("direction", lambda x, y: (x[y == 1].sum(0) - x[y == 0].sum(0)) / len(x), "its own size"),
    ("direction", lambda x, y: right_direction(x, y)[None], "one vector"),
    ("direction", lambda x, y: torch.tensor([2.0, 0.0]), "40 random"),
    ("share_of_the_way", lambda a, b, c: float(((c - a) / (b - a)).mean()), "mean of the shares"),
    ("share_of_the_way", lambda a, b, c: 1 - right_share(a, b, c), "left of the way"),
    ("share_of_the_way", lambda a, b, c: 1 / right_share(a, b, c), "upside down"),
    ("share_of_the_way", lambda a, b, c: c.mean() / b.mean(), "above and below"),
    ("share_of_the_way", lambda a, b, c: (c.mean() - a.mean()) / (b.mean() - a.mean()).abs(), "sign of both"),
    ("patch_run", on_and_on, "one site"),
    ("patch_run", after_the_layer, "too late"),
    ("patch_run", lambda f, x, s, l, w: right_run(f, x, s, l, ~w), "turned round"),
    ("patch_run", lambda f, x, s, l, w: right_run(f, x, s, l, torch.ones_like(w)), "Only the places"),
    ("patch_run", lambda f, x, s, l, w: right_run(f, x, x, l, w), "Nothing was replaced"),
    ("patch_run", lambda f, x, s, l, w: torch.where(w[:, None], s, f[0](x)), "must run on it too"),
    ("patch_run", the_text_itself, "not x|other run has"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
