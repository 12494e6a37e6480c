"""The diagrams by name: each is a function without arguments that must be given, which returns a `Canvas`."""

from collections.abc import Callable

from minillm.report.diagrams.canvas import Canvas

DIAGRAMS: dict[str, Callable[..., Canvas]] = {}


def diagram(function: Callable[..., Canvas]) -> Callable[..., Canvas]:
    """Enters a function among the diagrams, by its name."""
    if function.__name__ in DIAGRAMS:
        raise ValueError(f"there are two diagrams called {function.__name__}")
    DIAGRAMS[function.__name__] = function
    return function


def draw(name: str, **values) -> Canvas:
    """The diagram of this name, with a lesson's own values in the place of the example's.

    Raises: ValueError if there is none of this name.
    """
    if name not in DIAGRAMS:
        raise ValueError(f"there is no diagram {name!r}: choose one of {', '.join(sorted(DIAGRAMS))}")
    return DIAGRAMS[name](**values)
