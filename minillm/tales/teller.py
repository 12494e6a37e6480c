"""One small interface through which a program speaks, and the drivers that run it: to write, to read, to judge.

A program is any function `program(teller)`. It says fixed text, chooses among weighted texts, and recalls what its
state forces. Run by a `Sampler` it writes a document; run by a `Reader` on that document it makes the same choices
again, which gives the exact probability; run by a `Judge` it also accepts what is grammatical but false, and writes
down why; run by `enumerate_texts` it writes everything it can. As the texts of one choice never begin one another,
a text has one derivation at most, found from left to right without looking back; so log P(text) is the sum over its
choices.

Left out: choices that do not show in the text. A program folds such a choice into the first one that shows.
"""

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

END = "\x03"  # the end of a document, as a text that can be chosen; no document contains it


class Options:
    """Weighted alternatives of one choice: integer weights, texts, and the value that each stands for.

    >>> options = Options([(3, "red", 1), (1, "blue", 2)])
    >>> options.texts, options.total
    (('red', 'blue'), 4)
    """

    def __init__(self, items: Iterable[tuple[int, str, Any]]):
        weights, self.texts, self.values = zip(*items, strict=True) if (items := list(items)) else ((), (), ())
        self.cumulative = list(accumulate(weights))
        self.total = self.cumulative[-1] if weights else 0

    @cached_property
    def _places(self) -> dict[str, int]:
        return {text: i for i, text in enumerate(self.texts)}

    @cached_property
    def _lengths(self) -> list[int]:
        return sorted({len(text) for text in self.texts})

    def weight(self, index: int) -> int:
        """The weight of one alternative."""
        return self.cumulative[index] - (self.cumulative[index - 1] if index else 0)

    def match(self, text: str, at: int) -> int | None:
        """The index of the alternative that stands in `text` from `at` on, or None."""
        for length in self._lengths:
            if (index := self._places.get(text[at : at + length])) is not None:
                return index
        return None

    def without(self, *values) -> "Options":
        """The same alternatives but those with these values."""
        return _without(self, frozenset(values)) if values else self

    def items(self) -> list[tuple[int, str, Any]]:
        """The (weight, text, value) of each alternative."""
        return [(self.weight(i), text, value) for i, (text, value) in enumerate(zip(self.texts, self.values))]


@lru_cache(maxsize=4096)
def _without(options: Options, values: frozenset) -> Options:
    return Options(item for item in options.items() if item[2] not in values)


def evenly(texts: Iterable[str]) -> Options:
    """Alternatives of equal weight, each standing for itself."""
    return Options((1, text, text) for text in texts)


@lru_cache(maxsize=4096)
def only(text: str, value: Any) -> Options:
    """The one alternative there is."""
    return Options([(1, text, value)])


def check_prefix_free(texts: Iterable[str]) -> None:
    """Raises AssertionError when one text begins another, or occurs twice: such a choice could not be read."""
    ordered = sorted(texts)
    for first, second in zip(ordered, ordered[1:]):
        assert not second.startswith(first), f"{first!r} begins {second!r}: a reader could not tell them apart"


Wrong = Options | Callable[[], Options] | None
Why = Callable[[str], str] | None


def made(wrong: Wrong) -> Options:
    """The wrong texts, made now if need be."""
    return wrong if isinstance(wrong, Options) else wrong()


class Detour(NamedTuple):
    """The value of a wrong text after which a judge goes on differently than after the true one."""

    value: Any


class Step(NamedTuple):
    """One choice as made: where its text starts, the text, its log-probability (nats), and whether it was a recall."""

    offset: int
    text: str
    logprob: float
    recall: bool


class Teller:
    """What a program speaks through. `offset` is the number of characters so far, `steps` the choices so far.

    `sentence` is for the program to count what it tells (sentences, lines), so that a judge can say where.
    """

    def __init__(self, checked: bool = False):
        self.offset = 0
        self.sentence = 0
        self.steps: list[Step] = []
        self.checked = checked

    def say(self, text: str) -> None:
        """Emit fixed text."""
        self.offset += len(text)

    def choose(self, options: Options, wrong: Wrong = None, why: Why = None) -> Any:
        """Emit one of the texts and return its value.

        `wrong` holds texts of the same kind that would be grammatical here but false (those that are true are ignored),
        or makes them when asked, and `why(text)` says what is false about one. Only a judge asks.
        """
        if self.checked:
            check_prefix_free({*options.texts, *(made(wrong).texts if wrong else ())})
            assert len(set(options.texts)) == len(options.texts), f"a text occurs twice: {options.texts}"
        index = self._pick(options)
        text = options.texts[index]
        logprob = math.log(options.weight(index) / options.total) if len(options.texts) > 1 else 0.0
        self.steps.append(Step(self.offset, text, logprob, wrong is not None))
        self.say(text)
        return options.values[index]

    def recall(self, truth: str, among: Options, why: Why = None) -> None:
        """Emit the text that the state forces; `among` are all texts of its kind."""
        self.choose(only(truth, truth), among, why)

    @property
    def logprob(self) -> float:
        """The log-probability of everything emitted so far, in nats."""
        return math.fsum(step.logprob for step in self.steps)

    def _pick(self, options: Options) -> int:
        raise NotImplementedError


class Sampler(Teller):
    """Writes a document: every choice by `rng`, of which only `random()` is used, the same on every machine."""

    def __init__(self, rng: random.Random, checked: bool = False):
        super().__init__(checked)
        self.rng = rng
        self.pieces: list[str] = []

    @property
    def text(self) -> str:
        """What was written."""
        return "".join(self.pieces).removesuffix(END)

    def _pick(self, options):
        return bisect_right(options.cumulative, int(self.rng.random() * options.total)) if options.total > 1 else 0

    def say(self, text):
        self.pieces.append(text)
        self.offset += len(text)


class Unreadable(Exception):
    """A text that the program cannot have written. `offset` is where that shows, `expected` what could stand there."""

    def __init__(self, offset: int, expected: tuple[str, ...]):
        super().__init__(offset, expected)
        self.offset, self.expected = offset, expected


class Reader(Teller):
    """Makes the choices that a given text shows. Raises Unreadable where the text is none of the program's."""

    def __init__(self, text: str, checked: bool = False):
        super().__init__(checked)
        self.text = text + END

    def _pick(self, options):
        index = options.match(self.text, self.offset)
        if index is None:
            raise Unreadable(self.offset, options.texts)
        return index

    def say(self, text):
        if not self.text.startswith(text, self.offset):
            raise Unreadable(self.offset, (text,))
        self.offset += len(text)


class Judge(Reader):
    """A reader that goes on where a text is grammatical but false: `mistakes` says where and why.

    The program's state keeps the truth, so one slip is one mistake.
    """

    def __init__(self, text: str):
        super().__init__(text)
        self.mistakes: list[tuple[int, str]] = []
        self.recalls = 0

    def choose(self, options, wrong=None, why=None):
        """As Teller.choose; a wrong text is taken and noted; unless it is a detour, the first option is what counts."""
        self.recalls += wrong is not None
        if wrong is not None and options.match(self.text, self.offset) is None:
            wrong = made(wrong)
            index = wrong.match(self.text, self.offset)
            if index is not None:
                found = wrong.texts[index]
                self.mistakes.append((self.sentence, why(found) if why else f"{options.texts[0]!r}, not {found!r}"))
                self.say(found)
                value = wrong.values[index]
                return value.value if isinstance(value, Detour) else options.values[0]
        return super().choose(options, wrong, why)


class _Script(Teller):
    """Makes the choices of a list, then always the first; remembers how many there were to choose from."""

    def __init__(self, script: list[int]):
        super().__init__(checked=True)
        self.script, self.widths, self.pieces = script, [], []

    def _pick(self, options):
        self.widths.append(len(options.texts))
        at = len(self.widths) - 1
        if at == len(self.script):
            self.script.append(0)
        return self.script[at]

    def say(self, text):
        self.pieces.append(text)
        self.offset += len(text)


def enumerate_texts(program: Callable[[Teller], Any]) -> Iterator[tuple[str, float]]:
    """Every text of a (small) program with its log-probability.

    >>> coin = Options([(1, "heads", True), (3, "tails", False)])
    >>> [(text, round(math.exp(logprob), 2)) for text, logprob in enumerate_texts(lambda teller: teller.choose(coin))]
    [('heads', 0.25), ('tails', 0.75)]
    """
    script: list[int] = []
    while True:
        teller = _Script(script)
        program(teller)
        yield "".join(teller.pieces).removesuffix(END), teller.logprob
        while script and script[-1] + 1 == teller.widths[len(script) - 1]:
            script.pop()
        if not script:
            return
        script[-1] += 1


@dataclass(frozen=True)
class Reading:
    """What a reader found: the log-probability (nats; -inf if the program cannot have written the text), the choices,
    where it stopped and what it expected there (None and () for a text read to its end), and the program's result."""

    logprob: float
    steps: tuple[Step, ...]
    stopped: int | None
    expected: tuple[str, ...]
    result: Any


def recover(program: Callable[[Teller], Any], text: str, checked: bool = False) -> Reading:
    """Recover from a text alone how `program` wrote it."""
    reader = Reader(text, checked)
    try:
        result = program(reader)
        if reader.offset < len(reader.text):
            reader.say(END)
        if reader.offset < len(reader.text):  # the text itself held END
            raise Unreadable(reader.offset, ())
    except Unreadable as stop:
        return Reading(-math.inf, tuple(reader.steps), stop.offset, stop.expected, None)
    return Reading(reader.logprob, tuple(reader.steps), None, (), result)
