"""Whole documents: tales, clinic cases, patterns, and the mix of them that a model is first trained on.

Documents of different kinds begin differently ("Ward", a small letter, or neither), so the kind of a document is read
off before its first choice. The labelled tasks that follow from the same states are in `tasks` and `pairs`.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from minillm.tales.clinic import tell_case
from minillm.tales.patterns import tell_pattern
from minillm.tales.plots import PLOTS, tell_tale
from minillm.tales.teller import END, Reading, Sampler, Step, recover
from minillm.tales.world import POOLS, Fact, World, pools

PROGRAMS: dict[str, Callable] = {"tale": tell_tale, "pattern": tell_pattern, "clinic": tell_case}
MIX = {"tale": 9, "pattern": 1}  # weights of the kinds in the pre-training text


class Entity(NamedTuple):
    """A mention in a text: text[start:end] names a person, an animal, a place, an object, food or a time."""

    text: str
    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class Tale:
    """A document with all that is known about it.

    `logprob` is exact, in nats, under the program that wrote it. `entities` are in order of mention, `facts` in order
    of time, `sentences` are (start, end) character offsets, `steps` the choices. `labels` say for each sentence which
    of the ways on it takes ("" where there is but one). `ending` is how the one it is about feels at the end: "happy"
    or "sad" ("" for a pattern). `final` holds the last state: who has which thing, who feels how. `roles` gives the
    attributes of everyone and everything by role in the plot ("hero", "friend", "thing").
    """

    text: str
    logprob: float
    kind: str
    plot: str
    outcome: tuple[str, ...]
    ending: str
    entities: tuple[Entity, ...]
    facts: tuple[Fact, ...]
    final: dict[str, dict[str, str]]
    roles: dict[str, dict[str, str]]
    sentences: tuple[tuple[int, int], ...]
    labels: tuple[str, ...]
    steps: tuple[Step, ...]

    def __hash__(self) -> int:
        return hash(self.text)

    def sentence(self, index: int) -> str:
        """The text of one sentence."""
        start, end = self.sentences[index]
        return self.text[start:end]


def kind_of(text: str) -> str:
    """What kind of document a text would be, by how it begins: "tale", "pattern" or "clinic"."""
    if text.startswith("Ward"):
        return "clinic"
    return "pattern" if text[:1].islower() else "tale"


def _describe(text: str, kind: str, steps: list[Step], result: Any) -> Tale:
    logprob = math.fsum(step.logprob for step in steps)
    steps = tuple(steps[:-1] if steps[-1].text == END else steps)
    if not isinstance(result, World):
        return Tale(text, logprob, kind, result, (), "", (), (), {}, {}, (), (), steps)
    return Tale(
        text=text,
        logprob=logprob,
        kind=kind,
        plot=result.plot,
        outcome=tuple(result.outcome),
        ending={"glad": "happy", "sad": "sad"}[result.protagonist().mood],
        entities=tuple(Entity(*mention) for mention in result.named_mentions()),
        facts=tuple(result.named_facts()),
        final=result.final_state(),
        roles={role: dict(referent.attributes) for role, referent in result.roles.items()},
        sentences=tuple(result.sentences),
        labels=tuple(result.labels),
        steps=steps,
    )


def _write(kind: str, program: Callable, rng: random.Random) -> Tale:
    teller = Sampler(rng)
    result = program(teller)
    return _describe(teller.text, kind, teller.steps, result)


def document_stream(seed: int, kinds: dict[str, int] = MIX, name: str = "documents") -> Iterator[Tale]:
    """Documents without end, of these kinds by weight, in random order."""
    rng = random.Random(f"{name} {seed}")  # a text as seed gives the same numbers on every machine and Python
    drawn = [kind for kind, weight in kinds.items() for _ in range(weight)]
    while True:
        kind = drawn[int(rng.random() * len(drawn))]
        yield _write(kind, PROGRAMS[kind], rng)


def clinic_stream(seed: int) -> Iterator[Tale]:
    """Cases of the clinic without end."""
    return document_stream(seed, {"clinic": 1}, "clinic")


def tell(rng: random.Random, plots: Iterable[str] = tuple(PLOTS), known: dict[str, str] | None = None) -> Tale:
    """One tale of one of these plots, with what is known of it.

    Args:
        known: the words of some slots, {"hero.name": "Mira"}
    Returns: a tale whose `logprob` is that in this smaller world.

    >>> tell(random.Random(1), ["race"], {"hero.name": "Mira", "thing.noun": "kite"}).roles["thing"]["noun"]
    'kite'
    """
    lists = POOLS | pools({slot: [word] for slot, word in (known or {}).items()})
    return _write("tale", partial(tell_tale, plots=plots, pools=lists), rng)


def known(tale: Tale) -> dict[str, str]:
    """Every name, kind, place and thing of a tale, as `tell` takes them: told again, with other events and forms."""
    return {f"{role}.{aspect}": word for role, parts in tale.roles.items() for aspect, word in parts.items()}


def make_tales(n: int, seed: int) -> list[Tale]:
    """`n` tales. The first k of them are make_tales(k, seed)."""
    return list(islice(document_stream(seed, {"tale": 1}, "tales"), n))


def make_clinic(n: int, seed: int) -> list[Tale]:
    """`n` cases of the clinic."""
    return list(islice(clinic_stream(seed), n))


def make_patterns(n: int, seed: int) -> list[Tale]:
    """`n` lists of in-context patterns."""
    return list(islice(document_stream(seed, {"pattern": 1}, "patterns"), n))


def make_documents(n: int, seed: int) -> list[Tale]:
    """`n` documents of the mix for pre-training: nine tales to one pattern, in random order."""
    return list(islice(document_stream(seed), n))


def reading(text: str) -> Reading:
    """How a text was written: its choices and log-probability under its own program, or where reading stopped."""
    return recover(PROGRAMS[kind_of(text)], text)


def parse(text: str) -> Tale:
    """The tale behind a text, from the text alone.

    Raises: ValueError with the place where it is none.
    """
    found = reading(text)
    if found.stopped is not None:
        raise ValueError(f"not a tale: {text[found.stopped : found.stopped + 20]!r} at character {found.stopped}")
    return _describe(text, kind_of(text), list(found.steps), found.result)


def log_share(kind: str) -> float:
    """The log-probability in nats of a kind in the text it belongs to: 0 for the clinic, which has one of its own."""
    return math.log(MIX[kind] / sum(MIX.values())) if kind in MIX else 0.0


def logprob(text: str) -> float:
    """Exact log-probability of a document under the mix it belongs to.

    Tales and patterns belong to the pre-training mix, and choosing the kind is part of their probability; a clinic case
    belongs to a text of its own.

    Returns: nats; -inf for a text that is no document.
    """
    return reading(text).logprob + log_share(kind_of(text))


def entropy_floor(documents: Iterable[str], tokens: int) -> float | None:
    """The exact entropy of these documents, below which no model can get on average.

    Args:
        tokens: how many are predicted in all of them
    Returns: nats per predicted token; None where a document is not of the world.
    """
    nats = 0.0
    for document in documents:
        nats -= logprob(document)
        if nats == math.inf:
            return None
    return nats / tokens
