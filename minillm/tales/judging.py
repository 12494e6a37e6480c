"""The judge: is a text grammatical, and is it true to what it has said before?"""

from dataclasses import dataclass

from minillm.tales.documents import PROGRAMS, kind_of
from minillm.tales.teller import END, Judge, Unreadable


@dataclass(frozen=True)
class Judgement:
    """Whether the world could tell a text, whether it contradicts itself, a score in [0, 1], and what is wrong."""

    grammatical: bool
    consistent: bool
    score: float
    reasons: list[str]


def judge(text: str) -> Judgement:
    """What is right and wrong about any text, of the kind that its beginning says. White space around it is ignored.

    score = p * (1 - m / r) / (1 + [not grammatical]), with p the share of the characters up to where reading stopped,
    m the number of contradictions, and r the number of places so far at which the text could have contradicted itself.
    So it is 1 exactly for a grammatical text without contradiction, and at most 1/2 for an ungrammatical one. For a
    text that stops before its end, p counts the one character that would have to follow as missing.
    """
    text = text.strip()
    kind = kind_of(text)
    teller = Judge(text)
    stop = None
    try:
        PROGRAMS[kind](teller)
        if teller.offset < len(teller.text):
            teller.say(END)
        if teller.offset < len(teller.text):
            raise Unreadable(teller.offset, ())
    except Unreadable as caught:
        stop = caught
    unit = "line" if kind == "pattern" else "sentence"
    reasons = [f"{unit} {number}: {reason}" for number, reason in teller.mistakes]
    right = 1 - len(teller.mistakes) / max(teller.recalls, 1)
    if stop is None:
        return Judgement(True, not reasons, right, reasons)
    reasons.append(f"{unit} {teller.sentence}: {_explain(text, stop)}" if text else "the text is empty")
    return Judgement(False, len(reasons) == 1, stop.offset / (len(text) + 1) * right / 2, reasons)


def _explain(text: str, stop: Unreadable) -> str:
    wanted = [repr(option) for option in stop.expected[:3] if option != END]
    wanted = " or ".join(wanted) + (" or ..." if len(stop.expected) > 3 else "") if wanted else "the end"
    if any(option.startswith(text[stop.offset :]) for option in stop.expected):
        return f"the text ends in the middle; {wanted} could stand at character {stop.offset}"
    found = text[stop.offset : stop.offset + 20].split("\n")[0]
    return f"{found!r} at character {stop.offset}, where {wanted} could stand"
