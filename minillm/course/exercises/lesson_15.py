"""Graders of lesson 15: a prompt of pairs, belief with slips, calibration, an induction score, when a skill appears."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minillm.course.exercises import Wrong, exercise, expect, likely_slip
from minillm.inference import contextual_calibration, few_shot_prompt


@exercise("prompt_of_pairs")
def grade_prompt_of_pairs(answer: Callable) -> None:
    """One pair by hand, none at all, the library."""
    came = answer([("pig", "sty")], "fox")
    slips = [
        ("pig : sty\nfox : ", "The prompt ends before the space: the space belongs to the answer."),
        ("pig : sty\nfox :\n", "A line break at the end says that the line is over: the answer is to come in it."),
        ("pig : sty\nfox", "The colon of the last line is missing: the prompt ends where the answer begins."),
        ("pig: sty\nfox:", "A space stands on both sides of the colon: another form is another question."),
        ("pig : sty fox :", "Each pair has a line of its own: join them with a line break."),
        ("pig : sty, fox :", "Each pair has a line of its own: join them with a line break."),
        ("pig : sty\n\nfox :", "One line break stands between the lines, not an empty line."),
    ]
    slip = likely_slip(came, slips, "One line for each pair, then the word that is asked and its colon.")
    expect(came, "pig : sty\nfox :", slip)
    slip = "Without examples the prompt is the last line alone: zero-shot."
    expect(answer([], "fox"), "fox :", slip)
    pairs = [("cow", "barn"), ("bee", "hive"), ("king", "castle")]
    expected = few_shot_prompt(pairs, "mole", "{input} : {answer}", "\n")
    expect(answer(list(pairs), "mole"), expected, "The examples stay in their order, and all of them are shown.")


@exercise("belief_with_slips")
def grade_belief_with_slips(answer: Callable) -> None:
    """One example by hand, two that agree, two that do not, none; a word that a relation does not have."""
    relations = {"home": {"cow": "barn", "bee": "hive"}, "young": {"cow": "calf", "hen": "chick"}}

    def ask(examples, slip=0.1):
        came = answer(list(examples), {name: dict(pairs) for name, pairs in relations.items()}, slip)
        if not isinstance(came, dict) or set(came) != set(relations):
            raise Wrong(f"it gave {came!r} where a dictionary with {' and '.join(relations)} was expected.")
        return [float(came[name]) for name in relations]

    came = ask([("cow", "calf")])
    slips = [
        ([0.9, 0.1], "The relation that gives this answer gets 1 - slip, the other one slip."),
        ([0.0, 1.0], "One example does not settle it any more: in the other relation it is a slip."),
        ([0.05, 0.45], "They must add up to 1: divide by the sum."),
        ([0.5, 0.5], "The example tells the two apart: one relation gives the cow this answer, the other does not."),
    ]
    slip = likely_slip(came, slips, "The example has probability 0.1 in home and 0.9 in young.")
    expect(came, [0.1, 0.9], slip)
    came = ask([("cow", "calf"), ("hen", "chick")])
    slip = "Two examples that agree: 0.1 * 0.1 against 0.9 * 0.9, then normalise. Multiply, do not average or replace."
    expect(came, [0.01 / 0.82, 0.81 / 0.82], slip)
    slip = "Two examples that contradict each other cancel."
    expect(ask([("cow", "calf"), ("bee", "hive")]), [0.5, 0.5], slip)
    slip = "Without examples nothing is known: all relations are equally likely."
    expect(ask([]), [0.5, 0.5], slip)
    slip = "An example that no relation gives is a slip in each of them: it changes nothing."
    expect(ask([("cow", "calf"), ("cow", "moon")]), [0.1, 0.9], slip)
    slip = "Take the probability of a slip that is given."
    expect(ask([("cow", "barn")], 0.25), [0.75, 0.25], slip)


@exercise("calibrated")
def grade_calibrated(answer: Callable) -> None:
    """Two answers by hand, several empty prompts, one that says nothing itself, the library."""
    came = _list(answer([0.8, 0.2], [[0.9, 0.1]]))
    slips = [
        ([0.8 / 0.9, 2.0], "They must add up to 1: divide by the sum."),
        ([0.72 / 0.74, 0.02 / 0.74], "That multiplies: what the empty prompt prefers must be divided out."),
        ([0.9 / 0.8 / (0.9 / 0.8 + 0.5), 0.5 / (0.9 / 0.8 + 0.5)], "That is upside down: p is divided by p_cf."),
        ([0.8, 0.2], "Nothing has changed: divide by what the empty prompt says."),
    ]
    slip = likely_slip(came, slips, "0.8/0.9 = 0.889 and 0.2/0.1 = 2; together 2.889.")
    expect(came, [0.8 / 0.9 / (0.8 / 0.9 + 2), 2 / (0.8 / 0.9 + 2)], slip)
    p, empty = [0.8, 0.2], [[0.9, 0.1], [0.3, 0.7]]
    expected = [8 / 11, 3 / 11]  # 0.8 / 0.6 against 0.2 / 0.4
    slip = "With several empty prompts comes first the mean of their probabilities: 0.6 and 0.4. Divide by that, once."
    expect(_list(answer(p, empty)), expected, slip)
    slip = "An input that says as little as the empty ones must get equal probabilities."
    expect(_list(answer([0.7, 0.2, 0.1], [[0.7, 0.2, 0.1]])), [1 / 3] * 3, slip)
    generator = torch.Generator().manual_seed(1)
    p, empty = torch.rand(4, generator=generator).softmax(0), torch.rand(3, 4, generator=generator).softmax(1)
    expected = contextual_calibration(p.log()[None], empty.log())[0].exp().tolist()
    slip = "On four random answers it differs from minillm.inference.few_shot.contextual_calibration."
    expect(_list(answer(p.tolist(), empty.tolist())), expected, slip)


@exercise("induction_score_of")
def grade_induction_score_of(answer: Callable) -> None:
    """One repeated token by hand, none, three occurrences, neighbours, a text that stands there twice."""
    A = _weights(4, 1)
    came = _number(answer([7, 8, 9, 7], A))
    slips = [
        (A[3][0], "That is the earlier occurrence itself: the token behind it is meant."),
        (A[3][2], "That is the token before: look for where the token occurred earlier."),
        (A[1][3], "A[t][s] is the attention from t to s: the row is the token that looks."),
        (A[3][1] / 4, "Take the mean over the tokens that occurred before; here it is one."),
    ]
    slip = likely_slip(came, slips, "Only the last 7 occurred before, at place 0; behind it is place 1: A[3][1].")
    expect(came, A[3][1], slip)
    expect(_number(answer([1, 2, 3, 4], A)), 0.0, "No token occurred before: the score is 0.0, not a division by 0.")
    A = _weights(6, 2)
    expected = (A[2][1] + A[4][3]) / 2
    slip = "The token 5 stands there three times: for the third, the latest earlier occurrence is the second."
    expect(_number(answer([5, 6, 5, 7, 5, 8], A)), expected, slip)
    slip = "A token right behind itself looks at its own place: behind the earlier one stands this one."
    expect(_number(answer([3, 3, 4, 6, 8, 9], A)), A[1][1], slip)
    A = _weights(9, 3)
    expected = sum(A[t][t - 3] for t in range(5, 9)) / 4
    slip = "On a begin token and four words, twice, it differs from the score of the lesson."
    expect(_number(answer([0, 1, 2, 3, 4, 1, 2, 3, 4], A)), expected, slip)


@exercise("takes_off")
def grade_takes_off(answer: Callable) -> None:
    """A lucky measurement, a row that ends, a row at the very end, a row that is too short, none."""
    steps = [100, 200, 300, 400]
    came = answer(list(steps), [0.5, 0.9, 0.5, 0.9], 0.8, 1)
    slip = likely_slip(
        came,
        [
            (1, "That is the place in the list: give the step that stands there."),
            (0.9, "That is the accuracy: give the step at which it was measured."),
            (400, "That is the last one: the first counts."),
            (None, "With last = 1 a single measurement is enough, and what follows does not matter."),
        ],
        "The first measurement of at least 0.8 is the second, at step 200.",
    )
    expect(came, 200, slip)
    slip = "With last = 2 two measurements in a row must be high: a single lucky one does not count."
    expect(answer(list(steps), [0.5, 0.9, 0.5, 0.5], 0.8, 2), None, slip)
    slip = "The end of the run cuts the row short: one high measurement there is not two."
    expect(answer(list(steps), [0.5, 0.5, 0.5, 0.9], 0.8, 2), None, slip)
    slip = "The row begins at step 300: the step is that of its first measurement."
    expect(answer(list(steps), [0.9, 0.5, 0.8, 0.9], 0.8, 2), 300, slip)
    slip = "A run that falls again later has taken off all the same."
    expect(answer(list(steps), [0.9, 0.9, 0.5, 0.5], 0.8, 2), 100, slip)
    expect(answer([], [], 0.8, 1), None, "Without measurements there is no step: None.")


def _weights(T: int, seed: int) -> list[list[float]]:
    """Attention weights that are all different, so that a wrong place shows."""
    return torch.rand(T, T, generator=torch.Generator().manual_seed(seed)).softmax(-1).tolist()


def _number(came) -> float:
    if isinstance(came, Tensor) and came.numel() == 1:
        came = came.item()
    if isinstance(came, bool) or not isinstance(came, int | float) or math.isnan(came):
        raise Wrong(f"it gave {came!r} where one number was expected.")
    return float(came)


def _list(came) -> list[float]:
    if isinstance(came, Tensor):
        came = came.tolist()
    if not isinstance(came, list | tuple):
        raise Wrong(f"it gave {came!r} where a list of probabilities was expected.")
    return [float(value) for value in came]
