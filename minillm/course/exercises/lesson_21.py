"""Graders of lesson 21: the possible accuracy, where a reward is read, calibration in a number, a league of letters."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minillm.course.exercises import Wrong, exercise, expect, likely_slip
from minillm.tales import FLIPPED, TEMPERATURE, chance_of_choice


@exercise("possible_accuracy")
def grade_possible_accuracy(answer: Callable) -> None:
    """Two pairs by hand, either sign, more wrong ticks than right ones, and the tales' own people."""
    gap = 0.5 * math.log(3)  # sigma(gap / 0.5) is 3/4
    came = _number(answer([gap, gap], 0.5, 0.1))
    slips = [
        (0.75, "Some of the boxes are ticked wrongly: (1 - flipped) q + flipped (1 - q)."),
        (0.675, "Who likes the worse letter and ticks wrongly ends at the better: add flipped (1 - q)."),
        (0.65, "Who likes the worse letter and ticks wrongly ends at the better: add flipped (1 - q)."),
        (0.3, "That is the chance of the other letter: the better judge says the likelier one."),
        (0.9, "The best judge is not sure what people like: the temperature makes them heed a gap only roughly."),
        (0.1 + 0.8 / (1 + 3**-0.5), "Divide the difference by the temperature."),
    ]
    slip = likely_slip(came, slips, "q is 3/4 here, and p is 0.9 x 3/4 + 0.1 x 1/4.")
    expect(came, 0.7, slip)
    came = _number(answer([gap, -gap], 0.5, 0.1))
    slips = [
        (0.5, "A negative difference says that the other letter is better; the best judge says so. Pair by pair."),
    ]
    slip = likely_slip(came, slips, "The sign of a difference does not matter to the best judge, pair by pair.")
    expect(came, 0.7, slip)
    expect(_number(answer([100.0], 0.5, 0.8)), 0.8, "Where most tick wrongly, the best judge says the worse letter.")
    gaps = torch.randn(50, generator=torch.Generator().manual_seed(0)).tolist()
    chances = [chance_of_choice(gap, 0.0) for gap in gaps]
    expected = sum(max(chance, 1 - chance) for chance in chances) / len(chances)
    expect(_number(answer(gaps, TEMPERATURE, FLIPPED)), expected, "On 50 random differences it differs.")


@exercise("places_to_read")
def grade_places_to_read(answer: Callable) -> None:
    """Padding on the right, on the left, on both sides, none; and a boolean mask."""
    right = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
    came = _places(answer(right), 3)
    slips = [
        ([3, 3, 3], "That is the last place of each row, and some of them hold padding."),
        ([3, 1, 4], "That is one behind: places begin with 0."),
        ([0, 0, 0], "That is the first real token: it has not read the text yet."),
    ]
    expect(came, [2, 0, 3], likely_slip(came, slips, "The last 1 of each row."))
    left = torch.tensor([[0, 1, 1, 1], [0, 0, 0, 1], [0, 1, 1, 0]])
    came = _places(answer(left), 3)
    slips = [([2, 0, 1], "A count of real tokens is a place only if no padding stands before them.")]
    expect(came, [3, 3, 2], likely_slip(came, slips, "Here padding stands before the text, or on both sides."))
    expect(_places(answer(right.bool()), 3), [2, 0, 3], "The mask may be boolean, too.")


@exercise("calibration_error")
def grade_calibration_error(answer: Callable) -> None:
    """Two bins of unequal size by hand, the last edge, one that is calibrated, and a slow loop."""
    chances, right = [0.55] * 3 + [0.95], [True, True, False, False]
    came = _number(answer(list(chances), list(right), 5))
    third = 2 / 3 - 0.55
    slips = [
        ((third + 0.95) / 2, "A bin counts by its pairs: three of the four are in the first."),
        (third + 0.95, "A mean of distances: each bin counts by its share of the pairs."),
        ((third + 0.95) / 5, "A bin counts by its pairs, and an empty one not at all."),
        (0.15, "Bin by bin, without signs: else too sure in one bin makes up for not sure enough in another."),
        ((3 * third - 0.95) / 4, "Take the distance of each bin without its sign: both directions are errors."),
        (0.6, "First the mean of each bin, then the distance; not pair by pair."),
    ]
    slip = likely_slip(came, slips, "The bins are 0.55 sure and 2/3 right (three pairs), 0.95 sure and 0 right (one).")
    expect(came, (3 * third + 0.95) / 4, slip)
    over = _number(answer([0.55, 0.55, 0.95, 0.95], [True, True, True, False], 5))
    slips = [(0.0, "Take the distance of each bin without its sign: too sure and not sure enough are both errors.")]
    expect(over, 0.45, likely_slip(over, slips, "One bin is 0.45 below, the other 0.45 above: each counts 0.45."))
    expect(_number(answer([1.0, 1.0], [True, True], 5)), 0.0, "A chance of 1 belongs into the last bin.")
    mixed = _number(answer([0.75] * 4, [True, True, True, False], 4))
    expect(mixed, 0.0, "Three of four right and 0.75 sure: this is calibrated.")
    some = (0.5 + 0.5 * torch.rand(60, generator=torch.Generator().manual_seed(1))).tolist()
    hits = (torch.rand(60, generator=torch.Generator().manual_seed(2)) < 0.7).tolist()
    for bins in (1, 3, 10):
        slow = 0.0
        for k in range(bins):
            here = [i for i, c in enumerate(some) if min(int((c - 0.5) / 0.5 * bins), bins - 1) == k]
            slow += abs(sum(some[i] - hits[i] for i in here)) / 60
        expect(_number(answer(list(some), list(hits), bins)), slow, f"On 60 random pairs with {bins} bins it differs.")


@exercise("league")
def grade_league(answer: Callable) -> None:
    """Two letters by hand, three whose wins say little by themselves, and that the model's wins are the real ones."""
    wins = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    came = _scores(answer(wins.clone()), 2)
    half = math.log(2) / 2
    slips = [
        ([-half, half], "Turned round: wins[i, j] is how often i was chosen over j."),
        ([2 * half, 0.0], "The level is free; choose it so that the mean is 0."),
        ([0.0, -2 * half], "The level is free; choose it so that the mean is 0."),
        ([2 * half, -2 * half], "Each share of wins by itself: they differ by ln 2 only, and against whom matters."),
        ([0.5, -0.5], "That are wins minus losses, halved: the scores are logarithms of chances."),
        ([1 / 6, -1 / 6], "That is the share of wins. The scores are logarithms: the difference has sigma(d) = 2/3."),
        ([2 / 3, 1 / 3], "That is the share of wins. The scores are logarithms: the difference has sigma(d) = 2/3."),
    ]
    slip = likely_slip(came, slips, "The difference has sigma(d) = 2/3, so it is ln 2, and the mean is 0.")
    expect(came, [half, -half], slip, tolerance=2e-3)
    # 1 beats the weak 0 often; 2 meets the strong 1 alone and holds its own: shares of wins would rank 2 below 1 by far
    wins = torch.tensor([[0.0, 1.0, 0.0], [9.0, 0.0, 5.0], [0.0, 5.0, 0.0]])
    expected = torch.tensor([-2.0, 1.0, 1.0]) * math.log(9) / 3
    came = _scores(answer(wins.clone()), 3)
    share = (wins.sum(1) / (wins + wins.T).sum(1)).logit()
    slips = [((share - share.mean()).tolist(), "Not the share of wins: against whom they were won matters.")]
    slip = likely_slip(came, slips, "1 and 2 are alike, and 0 loses nine of ten to 1: whom one meets matters.")
    expect(came, expected.tolist(), slip, tolerance=5e-3)
    generator = torch.Generator().manual_seed(0)
    wins = torch.randint(1, 9, (5, 5), generator=generator).float().fill_diagonal_(0)
    r = torch.tensor(_scores(answer(wins.clone()), 5))
    modelled = ((wins + wins.T) * torch.sigmoid(r[:, None] - r[None, :])).fill_diagonal_(0).sum(1)
    slip = "At the likeliest scores the model expects as many wins of each as there were; yours are not there yet."
    expect(modelled, wins.sum(1), slip, tolerance=5e-3)
    expect(float(r.mean()), 0.0, "The level is free; choose it so that the mean is 0.", tolerance=1e-3)


def _number(came) -> float:
    try:
        return float(came)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"it gave {came!r} where a number was expected.") from None


def _places(came, rows: int) -> list[int]:
    if isinstance(came, Tensor):
        came = came.tolist()
    if not isinstance(came, list | tuple) or len(came) != rows:
        raise Wrong(f"it gave {came!r} where a place for each of {rows} rows was expected.")
    return [int(place) for place in came]


def _scores(came, letters: int) -> list[float]:
    came = came.detach() if isinstance(came, Tensor) else torch.as_tensor(came if came is not None else math.nan)
    if came.shape != (letters,):
        raise Wrong(f"it gave shape {tuple(came.shape)} where a score for each of {letters} was expected.")
    return came.float().tolist()
