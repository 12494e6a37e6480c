"""The checker itself: it knows a stub from an answer, never raises, and says what went wrong."""

import pytest
import torch

from minillm.course import check
from minillm.course.exercises import GRADERS, Wrong, exercise, expect, grade, untouched


@exercise("double (for the tests)")
def grade_double(answer):
    expect(answer(3), 6, "Did you add two?")


def test_only_a_stub_counts_as_unanswered():
    def stub(x):
        """Twice x."""
        ...

    def empty(x): ...

    def answer(x):
        return x

    constant = lambda x: 6  # noqa: E731
    assert untouched(stub) and untouched(empty)
    assert not untouched(answer) and not untouched(constant) and not untouched(print)


def test_the_three_verdicts(capsys):
    def stub(x): ...

    check("double (for the tests)", stub)
    check("double (for the tests)", lambda x: 2 * x)
    check("double (for the tests)", lambda x: x + 2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ", 1)[1] for line in lines] == [
        "not answered yet",
        "right",
        "wrong; it gave 5 where 6 was expected. Did you add two?",
    ]


def test_an_answer_that_raises_is_wrong_and_says_where(capsys):
    check("double (for the tests)", lambda x: x / 0)
    assert "it raised ZeroDivisionError" in capsys.readouterr().out
    check("double (for the tests)", 7)
    assert "wrong" in capsys.readouterr().out


def test_an_unknown_exercise_is_named_and_does_not_raise(capsys):
    check("nothing of that name", print)
    assert "there is no exercise" in capsys.readouterr().out
    with pytest.raises(ValueError, match="there is no exercise"):
        grade("nothing of that name", print)


def test_expect_compares_numbers_tensors_and_lists():
    expect(1.00001, 1.0, "")
    expect(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.00001]), "")
    expect([1, (2, 3.0)], [1, (2, 3.0)], "")
    for came, expected in [
        (None, 1.0),
        (2.0, 1.0),
        (torch.ones(2), torch.ones(3)),
        ("a", "b"),
        ([1], [1, 2]),
        (True, 1),
        ("x", torch.ones(2)),
    ]:
        with pytest.raises(Wrong):
            expect(came, expected, "slip")


def test_no_two_exercises_share_a_name():
    with pytest.raises(AssertionError, match="two exercises"):
        exercise("double (for the tests)")(print)
    assert len(GRADERS) == len(set(GRADERS))


def test_a_misspelt_exercise_is_answered_with_the_nearest_names_and_not_with_all():
    with pytest.raises(ValueError, match="there is no exercise 'cut_in_heads': did you mean cut_into_heads") as error:
        grade("cut_in_heads", print)
    assert len(str(error.value)) < 150


def test_of_a_large_tensor_of_the_right_shape_it_says_how_much_is_wrong():
    right = torch.zeros(4, 5)
    came = right.clone()
    came[1, 2], came[3, 4] = 0.5, float("nan")
    with pytest.raises(Wrong, match=r"the right shape, \[4, 5\], but 2 of its 20 numbers are wrong, by up to 0.5"):
        expect(came, right, "slip")
    with pytest.raises(Wrong, match=r"shape \[5, 4\] where a tensor of shape \[4, 5\] was expected"):
        expect(came.T, right, "slip")
