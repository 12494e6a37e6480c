"""Graders of lesson 20: the rank that fits a file, what a step holds, what nothing beats, differences seed by seed."""

from collections.abc import Callable

import torch

from minillm.course.exercises import Wrong, exercise, expect, likely_slip
from minillm.metrics import seed_interval


@exercise("largest_rank")
def grade_largest_rank(answer: Callable) -> None:
    """A small budget by hand, one that is met exactly, one too small, and a slow search."""
    shapes = [(128, 128), (256, 128)]
    came = _whole(answer(shapes, 10_000))
    slips = [
        (15, "A number takes four bytes."),
        (4, "Four ranks take 10,240 bytes: round down."),
        (0, "A rank adds in + out numbers to a matrix, not in times out."),
        (9, "That is the first matrix alone: every matrix has its own A and B."),
        (6, "That is the last matrix alone: every matrix has its own A and B."),
    ]
    expect(came, 3, likely_slip(came, slips, "One rank takes 4 x (256 + 384) = 2,560 bytes here."))
    came = _whole(answer(shapes, 7_680))
    expect(came, 3, "7,680 bytes are just three ranks: a file that fits exactly fits.")
    came = _whole(answer(shapes, 2_559))
    expect(came, 0, "Not even one rank fits: 0.")
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        some = [tuple(row) for row in torch.randint(1, 40, (4, 2), generator=generator).tolist()]
        room = int(torch.randint(5000, (), generator=generator))
        slow = 0
        while sum(4 * (slow + 1) * (out + inside) for out, inside in some) <= room:
            slow += 1
        expect(_whole(answer(some, room)), slow, f"With matrices {some} and {room} bytes it differs.")


@exercise("step_bytes")
def grade_step_bytes(answer: Callable) -> None:
    """A model of a thousand weights by hand: all of it, a tenth beside it, nothing."""
    came = _number(answer(1000, 1000, 500))
    slips = [
        (18_000.0, "What is held for the backward pass comes in bytes already."),
        (
            12_500.0,
            "Four bytes are missing for each weight: it, its gradient, and AdamW's two numbers for each that learns.",
        ),
        (8_500.0, "Beside weights and gradients AdamW keeps two numbers for each that learns."),
        (12_000.0, "The weights themselves are there, too, and what is held for the backward pass."),
        (4_500.0, "A number takes four bytes, and each that learns has three beside it: a gradient, and two of AdamW."),
        (16_000.0, "What is held for the backward pass counts, too."),
        (20_500.0, "A weight that learns stands there once: `there` holds it already."),
    ]
    slip = likely_slip(came, slips, "Four bytes for each weight, three times as much for each that learns, and `held`.")
    expect(came, 16_500.0, slip, tolerance=0)
    came = _number(answer(1100, 100, 500))
    slips = [
        (18_100.0, "Frozen weights have neither gradients nor an optimizer's state: only what learns has."),
        (2_100.0, "Frozen weights stand in memory, too."),
        (6_500.0, "`there` are all weights, those that learn among them."),
    ]
    expect(came, 6_100.0, likely_slip(came, slips, "1,100 weights are there, 100 learn."), tolerance=0)
    expect(_number(answer(1000, 0, 0)), 4000.0, "Where nothing learns, the weights alone are there.", tolerance=0)


@exercise("pareto_front")
def grade_pareto_front(answer: Callable) -> None:
    """Six points by hand, equals, a single one, and random points against a slow loop."""
    points = [(50, 0.9), (10, 0.8), (20, 0.7), (1, 0.3), (50, 0.85), (90, 0.4)]
    came = _places(answer(list(points)))
    slips = [
        ([2, 4, 5], "Those are the points that are beaten: give the others."),
        ([0], "That is the best score alone. A smaller one that scores less is a choice, too."),
        ([3], "That is the smallest alone. A larger one that scores more is a choice, too."),
        ([0, 5], "Small is good here: a point is beaten by one that is smaller and scores more."),
        ([3, 1, 0], "In the order of the list, please."),
        ([0, 1, 3, 4], "Point 4 is as large as point 0 and scores less: nobody would choose it."),
        ([0, 1, 2, 3], "Point 2 is larger than point 1 and scores less: it is beaten."),
        ([0, 1, 2, 3, 4, 5], "Some are beaten: point 1 is smaller than point 2 and scores more."),
    ]
    expect(came, [0, 1, 3], likely_slip(came, slips, "2 is beaten by 1, 4 by 0, and 5 by three of them."))
    came = _places(answer([(5, 0.5), (5, 0.5), (6, 0.5)]))
    slips = [
        ([], "Two equal points do not beat each other: to beat, one must be better in something."),
        ([0], "Two equal points do not beat each other: both stay."),
        ([0, 1, 2], "Equal in score and larger: point 2 is beaten."),
    ]
    expect(came, [0, 1], likely_slip(came, slips, "Equal points both stay; a larger one of equal score goes."))
    expect(_places(answer([(3, 0.0)])), [0], "A single point is beaten by nobody.")
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        some = [(int(a), float(b)) for a, b in torch.randint(6, (8, 2), generator=generator).tolist()]
        slow = [
            i
            for i, (size, score) in enumerate(some)
            if not any(s <= size and r >= score and (s, r) != (size, score) for s, r in some)
        ]
        expect(_places(answer(list(some))), slow, f"For the points {some} it differs.")


@exercise("paired_gain")
def grade_paired_gain(answer: Callable) -> None:
    """Three seeds by hand, the same twice, the order turned round, and the library's interval on random scores."""
    ours, theirs = [0.5, 0.7, 0.9], [0.4, 0.5, 0.6]
    came = _three(answer(list(ours), list(theirs)))
    differences = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    apart = (torch.tensor(ours).var() / 3 + torch.tensor(theirs).var() / 3).sqrt().item()
    root = 3**0.5
    slips = [
        (_around(-0.2, 4.303 * 0.1 / root), "Turned round: ours minus theirs."),
        (_around(0.2, 4.303 * apart), "Take the differences first, seed by seed: what both share then cancels."),
        (_around(0.2, 2.776 * apart), "Take the differences first, seed by seed: what both share then cancels."),
        (_around(0.2, 1.96 * 0.1 / root), "1.96 is for many runs. Three have two degrees of freedom: 4.303."),
        (_around(0.2, 4.303 * 0.1), "That is where a single seed lies: for a mean divide by the root of n."),
        (_around(0.2, 3.182 * 0.1 / root), "Three runs have n - 1 = 2 degrees of freedom: T_975[2]."),
        (
            _around(0.2, 4.303 * differences.std(correction=0).item() / root),
            "The standard deviation of a sample divides by n - 1, not by n.",
        ),
    ]
    right = _around(0.2, 4.303 * 0.1 / root)
    slip = likely_slip(came, slips, "The differences are 0.1, 0.2 and 0.3, and their standard deviation is 0.1.")
    expect(came, right, slip)
    came = _three(answer([0.3, 0.6], [0.3, 0.6]))
    expect(came, [0.0, 0.0, 0.0], "A method compared with itself: nothing, and nothing around it.")
    generator = torch.Generator().manual_seed(0)
    for n in (2, 5, 8):
        a, b = torch.rand(2, n, generator=generator).tolist()
        expected = list(seed_interval([x - y for x, y in zip(a, b)]))
        expect(_three(answer(a, b)), expected, f"With {n} seeds it differs: T_975 is by degrees of freedom, n - 1.")


def _around(mean: float, reach: float) -> list[float]:
    return [mean, mean - reach, mean + reach]


def _whole(came) -> int:
    if isinstance(came, bool) or not isinstance(came, int | float) or came != int(came):
        raise Wrong(f"it gave {came!r} where a whole number was expected.")
    return int(came)


def _number(came) -> float:
    try:
        return float(came)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"it gave {came!r} where a number of bytes was expected.") from None


def _places(came) -> list[int]:
    came = came.tolist() if isinstance(came, torch.Tensor) else came
    if not isinstance(came, list | tuple):
        raise Wrong(f"it gave {came!r} where a list of places was expected.")
    return [int(value) for value in came]


def _three(came) -> list[float]:
    came = came.tolist() if isinstance(came, torch.Tensor) else came
    if not isinstance(came, list | tuple) or len(came) != 3:
        raise Wrong(f"it gave {came!r} where the mean and the two ends of its interval were expected.")
    return [float(value) for value in came]
