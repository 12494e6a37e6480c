"""The slips that people make in lesson 13 are wrong, each with its own message. (Its folded solutions are right.)"""

import math
import re

import pytest

from minillm.course.exercises import grade


def right_rates(rate, layers, factor):
    return [rate / factor ** (layers - 1 - layer) for layer in range(layers)]


def right_change(before, after, layer):
    own = [name for name in before if name.startswith(layer + ".")]
    moved = sum(float((after[name] - before[name]).square().sum()) for name in own)
    return math.sqrt(moved / sum(float(before[name].square().sum()) for name in own))


def right_labels(sizes, accuracies, target):
    if accuracies[0] >= target:
        return sizes[0]
    for i in range(len(sizes) - 1):
        low, high = accuracies[i], accuracies[i + 1]
        if low < target <= high:
            return sizes[i] * (sizes[i + 1] / sizes[i]) ** ((target - low) / (high - low))
    return None


def right_freeze(model, layers):
    for name, parameter in model.named_parameters():
        block = re.match(r"trunk\.blocks\.(\d+)\.", name)
        if name.startswith("trunk.head."):
            parameter.requires_grad = False
        elif block:
            parameter.requires_grad = int(block[1]) >= layers
        elif name.startswith(("trunk.embedding.", "trunk.shift.")):
            parameter.requires_grad = layers == 0
        else:
            parameter.requires_grad = True
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("rates_by_layer", right_rates),
        ("relative_change", right_change),
        ("labels_needed", right_labels),
        ("freeze_below", right_freeze),
    ],
)
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


def names_of(before, layer):
    return [name for name in before if name.startswith(layer + ".")]


def mean_of_ratios(before, after, layer):
    ratios = [float((after[n] - before[n]).norm() / before[n].norm()) for n in names_of(before, layer)]
    return sum(ratios) / len(ratios)


def sum_of_norms(before, after, layer):
    own = names_of(before, layer)
    return sum(float((after[n] - before[n]).norm()) for n in own) / sum(float(before[n].norm()) for n in own)


def loose_names(before, after, layer):
    own = {name for name in before if name.startswith(layer)}
    return right_change({"x." + n: before[n] for n in own}, {"x." + n: after[n] for n in own}, "x")


def straight_line(sizes, accuracies, target):
    for i in range(len(sizes) - 1):
        low, high = accuracies[i], accuracies[i + 1]
        if low < target <= high:
            return sizes[i] + (sizes[i + 1] - sizes[i]) * (target - low) / (high - low)
    return None


def last_crossing(sizes, accuracies, target):
    found = None
    for i in range(len(sizes) - 1):
        found = right_labels(sizes[i : i + 2], accuracies[i : i + 2], target) or found
    return found


def only_freeze(model, layers):
    for name, parameter in model.named_parameters():
        block = re.match(r"trunk\.blocks\.(\d+)\.", name)
        low = name.startswith(("trunk.embedding.", "trunk.shift.")) and layers
        if name.startswith("trunk.head.") or low or (block and int(block[1]) < layers):
            parameter.requires_grad = False
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def then(change):
    """The right answer, spoiled afterwards."""

    def answer(model, layers):
        right_freeze(model, layers)
        for name, parameter in model.named_parameters():
            parameter.requires_grad = change(name, parameter.requires_grad, layers)
        return sum(p.numel() for p in model.parameters() if p.requires_grad)

    return answer


WRONG = [
    # rates by layer
    ("rates_by_layer", lambda r, n, f: right_rates(r, n, f)[::-1], "begins with the lowest layer"),
    ("rates_by_layer", lambda r, n, f: [x / f for x in right_rates(r, n, f)], "undivided"),
    ("rates_by_layer", lambda r, n, f: [r * f**i for i in range(n)], "that of the top layer"),
    ("rates_by_layer", lambda r, n, f: right_rates(r, n, 2.0), "differ by the factor"),
    ("rates_by_layer", lambda r, n, f: r, "a list of rates"),
    # how far layers moved
    ("relative_change", lambda b, a, n: right_change(b, a, n) ** 2, "take the root"),
    ("relative_change", lambda b, a, n: right_change(a, b, n), "size afterwards"),
    ("relative_change", mean_of_ratios, "no mean over tensors"),
    ("relative_change", sum_of_norms, "differs from the norms|no mean over tensors"),
    ("relative_change", loose_names, "layer 10"),
    ("relative_change", lambda b, a, n: {n: right_change(b, a, n)}, "one number"),
    # labels needed
    ("labels_needed", straight_line, "logarithmic"),
    ("labels_needed", lambda s, a, t: next((n for n, x in zip(s, a) if x >= t), None), "reaches it before"),
    ("labels_needed", last_crossing, "passes the target twice"),
    ("labels_needed", lambda s, a, t: right_labels(s, a, t) or s[-1], "None"),
    ("labels_needed", lambda s, a, t: math.log10(right_labels(s, a, t) or 1), "logarithm of the answer"),
    # freezing
    ("freeze_below", only_freeze, "both ways"),
    ("freeze_below", lambda m, n: right_freeze(m, n + 1), "count from 0"),
    ("freeze_below", then(lambda name, free, n: free or "embedding" in name), "the embedding still moves"),
    ("freeze_below", then(lambda name, free, n: free and not name.startswith("head.")), "must always learn"),
    ("freeze_below", then(lambda name, free, n: free or name.startswith("trunk.head.")), "is not used"),
    ("freeze_below", then(lambda name, free, n: free and "embedding" not in name), "all of the trunk"),
    ("freeze_below", lambda m, n: (right_freeze(m, n), sum(p.requires_grad for p in m.parameters()))[1], "tensors"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
