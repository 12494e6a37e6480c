"""The lessons' exercises, which check themselves: a file for each lesson, a function for each exercise.

    def perplexity(loss):          # in the notebook: a stub, its body is `...`
        ...
    check("perplexity", perplexity)

A grading function takes the learner's function, tries it on a case worked by hand, on an invariant, or against the
library, and raises `Wrong` with the likely slip when it fails. `check` prints one line and never raises.
"""

import contextlib
import difflib
import dis
import importlib
import pkgutil
import re
import traceback
from collections.abc import Callable
from typing import NamedTuple

GRADERS: dict[str, Callable] = {}
SHOWN = 12  # numbers of a tensor, beyond which its shape is told


class Wrong(Exception):
    """What came, what was expected, and the likely slip."""


class Verdict(NamedTuple):
    """`status` is "not answered yet", "right" or "wrong"; `message` explains a wrong one."""

    status: str
    message: str = ""


def exercise(name: str) -> Callable:
    """Mark a function as the grader of an exercise. Names are unique over all lessons."""

    def register(grader: Callable) -> Callable:
        assert name not in GRADERS, f"two exercises are called {name!r}"
        GRADERS[name] = grader
        return grader

    return register


def expect(came, expected, slip: str, tolerance: float = 1e-4) -> None:
    """Raises Wrong unless the two are the same: numbers and tensors within `tolerance`, anything else exactly."""
    if not _same(came, expected, tolerance):
        raise Wrong(f"{_beside(came, expected)}. {slip}")


def likely_slip(came, slips: list[tuple], otherwise: str) -> str:
    """What probably went wrong: of the pairs (value, slip) the slip that gives just this value, else the last word."""
    return next((slip for value, slip in slips if _same(came, value, 1e-3)), otherwise)


def grade(name: str, answer: Callable) -> Verdict:
    """The verdict on an answer. Raises ValueError for an exercise that does not exist."""
    _load_graders()
    if name not in GRADERS:
        near = difflib.get_close_matches(name, GRADERS, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "its name stands above its stub"
        raise ValueError(f"there is no exercise {name!r}: {hint}")
    if untouched(answer):
        return Verdict("not answered yet")
    try:
        GRADERS[name](answer)
    except Wrong as wrong:
        return Verdict("wrong", str(wrong))
    except Exception as error:  # the learner's own, whatever it is
        line = traceback.extract_tb(error.__traceback__)[-1]
        return Verdict("wrong", f"it raised {type(error).__name__}: {error} (line {line.lineno}: {line.line})")
    return Verdict("right")


def check(name: str, answer: Callable) -> None:
    """Print the verdict on an answer: not answered yet, right, or wrong and why; `note` keeps it."""
    try:
        status, message = grade(name, answer)
    except Exception as error:
        status, message = "not checked", str(error)
    print(f"{name}: {status}" + (f"; {message}" if message else ""))
    with contextlib.suppress(Exception):
        from minillm.course.progress import note

        note(name, status)


def all_exercises() -> dict[str, list[str]]:
    """The names of the exercises by the number of their lesson, in the order of the lessons and of their files."""
    _load_graders()
    found: dict[str, list[str]] = {}
    for name, grader in GRADERS.items():
        if lesson := re.search(r"lesson_(\d\d)$", grader.__module__):
            found.setdefault(lesson[1], []).append(name)
    return dict(sorted(found.items()))


def untouched(answer: Callable) -> bool:
    """Whether a function is still the stub: a docstring, `...`, and nothing that computes."""
    code = getattr(answer, "__code__", None)
    if code is None:
        return False
    idle = {"RESUME", "NOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE", "COPY_FREE_VARS"}
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("RESUME", "NOP", "COPY_FREE_VARS")]
    return all(step.opname in idle for step in steps) and all(
        step.argval is None for step in steps if step.opname in ("LOAD_CONST", "RETURN_CONST")
    )


def _load_graders() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def _same(came, expected, tolerance: float) -> bool:
    import torch

    if isinstance(expected, torch.Tensor | float) and not isinstance(came, str | None):
        try:
            came, expected = torch.as_tensor(came), torch.as_tensor(expected)
        except (TypeError, ValueError, RuntimeError):
            return False
        close = {"atol": tolerance, "rtol": tolerance, "equal_nan": True}
        return came.shape == expected.shape and torch.allclose(came.double(), expected.double(), **close)
    if isinstance(expected, list | tuple) and isinstance(came, list | tuple):
        return len(came) == len(expected) and all(_same(a, b, tolerance) for a, b in zip(came, expected))
    return type(came) is type(expected) and came == expected


def _beside(came, expected) -> str:
    """What came beside what was expected; of large tensors of one shape, by how much they differ."""
    import torch

    both = isinstance(came, torch.Tensor) and isinstance(expected, torch.Tensor)
    if not both or came.shape != expected.shape or came.numel() <= SHOWN:
        return f"it gave {_show(came)} where {_show(expected)} was expected"
    apart = (came.double() - expected.double()).abs()
    different = int((~(apart <= 1e-4)).sum())  # not a number is different too
    said = f"{different} of its {came.numel()} numbers are wrong"
    known = apart[apart.isfinite()]
    largest = f", by up to {known.max():.3g}" if len(known) else ""
    return f"it gave a tensor of the right shape, {list(came.shape)}, but {said}{largest}"


def _show(value) -> str:
    import torch

    if isinstance(value, torch.Tensor):
        value = value.detach().float().tolist() if value.numel() <= SHOWN else f"a tensor of shape {list(value.shape)}"
    if isinstance(value, float):
        return f"{value:.5g}"
    text = str(value) if isinstance(value, str) and value.startswith("a tensor") else repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
