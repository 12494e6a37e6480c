"""One sentence at the end of a run that did worse than something simple, and what to try. The exit status stays 0."""

import math
from collections.abc import Iterable


def advice(
    loss: float | None = None,
    choices: int | None = None,
    scores: dict | None = None,
    baselines: dict[str, dict] | None = None,
    names: Iterable[str] = (),
) -> str:
    """What to try where a run did badly; "" where it did not, or nobody knows.

    Args:
        loss: on validation data, in nats; choices: among how many the model had to choose, at random at a loss of ln
        names: of the scores that count, the first that a baseline has too is compared; larger is better

    >>> advice(loss=9.0, choices=1536)[:62]
    'this run has learned nothing: its loss, 9.000, is above ln 1,5'
    """
    if loss is not None and choices and loss > math.log(choices):
        chance = f"ln {choices:,} = {math.log(choices):.3f}"
        return (
            f"this run has learned nothing: its loss, {loss:.3f}, is above {chance}, that of guessing; lower "
            "the learning rates (--learning-rate, --matrix-learning-rate), or train for longer"
        )
    for who, own in (baselines or {}).items():
        name = next((name for name in names if number(own, name) and number(scores or {}, name)), None)
        if name is not None and scores[name] < own[name]:
            return (
                f"{name} is {scores[name]:.3f}, below the {own[name]:.3f} of the baseline ({who}): train for longer "
                "(--max-steps), bring more examples, or begin with a trained model (--from)"
            )
    return ""


def before_alignment(scores: dict) -> dict[str, dict]:
    """The model before alignment as a baseline, where its true score is known."""
    return {"before": {"true_score": scores["true_score_before"]}} if "true_score_before" in scores else {}


def say(sentence: str) -> None:
    """Print an advice, if there is one."""
    if sentence:
        print(f"advice: {sentence}")


def number(scores: dict, name: str) -> bool:
    """Whether there is a number under this name."""
    return isinstance(scores.get(name), int | float)
