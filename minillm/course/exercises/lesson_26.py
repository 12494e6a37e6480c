"""Graders of lesson 26: the majority, a direction, the share of the way, patching by hand."""

from collections.abc import Callable

import torch
from torch import Tensor

from minillm.course.exercises import Wrong, exercise, expect, likely_slip


@exercise("majority_accuracy")
def grade_majority_accuracy(answer: Callable) -> None:
    """By hand: another class is commonest in the test; classes as often as each other; none of the test."""
    came = _number(answer([1, 1, 0], [0, 1, 1, 0, 0]))
    slips = [
        (0.6, "That is the commonest class of the test, which nobody has seen. Take that of the training labels."),
        (2 / 3, "That is its share of the training labels: count it in the test labels."),
        (2.0, "That is a count: divide by the number of test labels."),
    ]
    expect(came, 0.4, likely_slip(came, slips, "The commonest of the training labels is 1; two of five are 1."))
    came = _number(answer([2, 1, 1, 2], [1, 1, 1, 2]))
    slips = [(0.25, "Of classes that are equally common the smallest label counts.")]
    expect(came, 0.75, likely_slip(came, slips, "Of classes that are equally common the smallest label counts."))
    expect(_number(answer([2, 2, 1], [1, 1, 1])), 0.0, "The commonest of training is 2, which the test never has.")


@exercise("direction")
def grade_direction(answer: Callable) -> None:
    """By hand with classes of unequal size, then random vectors."""
    x, labels = torch.tensor([[2.0, 1.0], [4.0, 1.0], [1.0, 1.0]]), torch.tensor([1, 1, 0])
    came = _tensor(answer(x.clone(), labels.clone()))
    slips = [
        (torch.tensor([-2.0, 0.0]), "The sign is turned round: label 1 less label 0."),
        (torch.tensor([5.0, 1.0]), "Those are sums. With classes of unequal size take means."),
        (torch.tensor([1.0, 0.0]), "Nothing is normalised, and nothing halved."),
        (torch.tensor([5 / 3, 1 / 3]), "Divide each class by its own size, not by that of both."),
        (torch.tensor([[2.0, 0.0]]), "It is one vector (C,), without an axis of length 1."),
    ]
    expect(came, torch.tensor([2.0, 0.0]), likely_slip(came, slips, "The means are (3, 1) and (1, 1)."))
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(40, 7, generator=generator), torch.randint(0, 2, (40,), generator=generator)
    right = torch.stack([row for row, label in zip(x, labels) if label]).mean(0)
    right = right - torch.stack([row for row, label in zip(x, labels) if not label]).mean(0)
    expect(_tensor(answer(x.clone(), labels.clone())), right, "On 40 random vectors of 7 numbers it differs.")


@exercise("share_of_the_way")
def grade_share_of_the_way(answer: Callable) -> None:
    """By hand; scores that do not begin at 0; a pair that hardly differs."""
    came = _number(answer(torch.zeros(2), torch.tensor([1.0, 3.0]), torch.tensor([1.0, 0.0])))
    slips = [
        (0.5, "That is the mean of the shares of single pairs. Take the means of the scores first."),
        (0.75, "That is what is left of the way, not what was gone."),
        (4.0, "The fraction stands upside down."),
        (1.0, "That is a sum or a single pair: take means over the pairs."),
    ]
    expect(came, 0.25, likely_slip(came, slips, "The means are 0, 2 and 0.5."))
    came = _number(answer(torch.tensor([2.0, 2.0]), torch.tensor([-2.0, -2.0]), torch.tensor([1.0, 1.0])))
    slips = [
        (-0.5, "Subtract the score without patching above and below."),
        (-0.25, "The way goes from here to there: the sign of both differences must agree."),
    ]
    expect(came, 0.25, likely_slip(came, slips, "From 2 to -2 the way is -4, and -1 of it was gone."))
    here, there = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1e-6])
    expect(
        _number(answer(here, there, torch.tensor([0.5, 0.5]))), 1 / (1 + 1e-6), "A pair that hardly differs decides."
    )


@exercise("patch_run")
def grade_patch_run(answer: Callable) -> None:
    """By hand with one layer and with three that differ; every site; nothing replaced."""
    x, source = torch.tensor([[1.0], [1.0]]), torch.tensor([[5.0], [7.0]])
    where = torch.tensor([True, False])
    came = _tensor(answer([lambda y: 2 * y], x.clone(), source.clone(), 0, where.clone()))
    slips = [
        (torch.tensor([[5.0], [2.0]]), "The vector of site 0 goes in before layer 1, which must run on it too."),
        (torch.tensor([[10.0], [14.0]]), "Only the places where `where` is true are replaced."),
        (torch.tensor([[2.0], [14.0]]), "The places are turned round."),
        (torch.tensor([[2.0], [2.0]]), "Nothing was replaced."),
    ]
    expect(came, torch.tensor([[10.0], [2.0]]), likely_slip(came, slips, "10 = 2 x 5 came from the other text."))
    mix = torch.tensor([[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.25, 0.5, 1.0]])
    layers = [lambda y: mix @ y, lambda y: y.square(), lambda y: y + y.flip(1)]
    generator = torch.Generator().manual_seed(0)
    x, source = torch.randn(2, 3, 2, generator=generator)
    where = torch.tensor([False, True, False])  # it reads the place before it
    for site in range(4):
        came = _tensor(answer(layers, x.clone(), source.clone(), site, where.clone()))
        slips = [(_everywhere_after(layers, x, source, site, where), "Replace only at one site: then the run goes on.")]
        if site:
            slips.append((_patched(layers, x, source, site - 1, where), "It came one site too early."))
            slips.append((_raw(layers, x, source, site, where), "Put in what the other run has at this site, not x."))
        if site < 3:
            slips.append((_patched(layers, x, source, site + 1, where), "It came one site too late."))
        slip = likely_slip(came, slips, f"With three layers, site {site} and the second place it differs.")
        expect(came, _patched(layers, x, source, site, where), slip)


def _patched(layers, x: Tensor, source: Tensor, site: int, where: Tensor) -> Tensor:
    """The oracle: run the other text up to the site, put it in, run on."""
    for layer in layers[:site]:
        x, source = layer(x), layer(source)
    x = torch.stack([other if chosen else own for own, other, chosen in zip(x, source, where)])
    for layer in layers[site:]:
        x = layer(x)
    return x


def _everywhere_after(layers, x: Tensor, source: Tensor, site: int, where: Tensor) -> Tensor:
    """The slip: replaced at the site and at every later one."""
    for number in range(len(layers) + 1):
        if number >= site:
            x = torch.where(where[:, None], source, x)
        if number < len(layers):
            x, source = layers[number](x), layers[number](source)
    return x


def _raw(layers, x: Tensor, source: Tensor, site: int, where: Tensor) -> Tensor:
    """The slip: the other text itself is put in, at whatever site."""
    for layer in layers[:site]:
        x = layer(x)
    x = torch.where(where[:, None], source, x)
    for layer in layers[site:]:
        x = layer(x)
    return x


def _number(came) -> float:
    came = came.item() if isinstance(came, Tensor) and came.numel() == 1 else came
    if isinstance(came, bool) or not isinstance(came, int | float):
        raise Wrong(f"it gave {came!r} where a number was expected.")
    return float(came)


def _tensor(came) -> Tensor:
    if not isinstance(came, Tensor):
        raise Wrong(f"it gave {came!r} where a tensor was expected.")
    return came
