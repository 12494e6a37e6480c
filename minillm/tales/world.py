"""What is true in a tale: who there is, who has what, who feels how; and how the telling follows from it.

Nothing has an attribute before it is mentioned. The first mention of one (a name, a colour, a home) draws it from its
list; every later mention must repeat it. So the first is a choice and the others are recalls, and the same lines of a
plot write a tale, read it, and know what would be false in it. Heroes are people and their friends are animals, with
names of their own kind, so no two of a tale share a name.
"""

from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple

from minillm.tales import words
from minillm.tales.forms import Blank, Branch, tree, walk
from minillm.tales.teller import Options, Teller, evenly, only

PRONOUNS = {
    "he": ("he", "she"),
    "him": ("him", "her"),
    "his": ("his", "her"),
    "He": ("He ", "She "),  # with the space, so that "He " does not begin "Her"
    "His": ("His ", "Her "),
}
FEELINGS = {"glad": evenly(words.GLAD), "sad": evenly(words.SAD)}
KIND_OF_MENTION = {"noun": "object", "home": "place", "spot": "place", "place": "place", "dish": "food"}
KIND_OF_MENTION |= {"time": "time", "day": "time", "name": "name", "adjective": "part", "ingredient": "part"}
JOINED = {"noun": "adjective", "dish": "ingredient"}  # mentioned as one: a red kite
CALLED = ("name", "noun", "dish", "place", "day", "kind")  # the aspects that name something, the first that is known
FACTS_OF_ASPECTS = {"kind": "is a", "trait": "is", "home": "lives in", "spot": "lives by"}


class Referent:
    """Someone or something: its role in the plot, its attributes so far, and how it feels."""

    def __init__(self, role: str, **attributes: str):
        self.role, self.attributes, self.mood = role, attributes, ""

    def __getattr__(self, aspect: str) -> str:
        try:
            return self.attributes[aspect]
        except KeyError:
            raise AttributeError(f"the {self.role} has no {aspect} yet") from None

    def __str__(self) -> str:
        known = self.attributes
        for aspect in CALLED:
            if aspect in known:
                return f"{known[JOINED[aspect]]} {known[aspect]}" if aspect in JOINED else known[aspect]
        return self.role

    def describe(self, aspect: str, found: str) -> str:
        """What is false when `found` stands where this attribute should: "it is the red lamp, not the kite"."""
        truth = self.attributes.get(aspect, "")
        if aspect == "name":
            return f"the {self.role} is {self}, not {found}"
        if aspect in ("noun", "dish"):
            return f"it is the {self}, not the {found}"
        where = f"{self} lives in the" if aspect == "home" else f"the {aspect} is"
        return f"{where} {truth}, not {found}"


class Mention(NamedTuple):
    """A place in the text that names a referent: the words, their kind, the referent, where they start and end."""

    text: str
    kind: str
    referent: Referent
    start: int
    end: int


class Fact(NamedTuple):
    """Something that holds from a sentence on (0 is the first): Mira, has, red kite."""

    subject: str
    relation: str
    object: str
    sentence: int


def pools(lists: dict[str, list[str]]) -> dict[str, Options]:
    """All texts for each attribute, each standing for the bare word: "kind" without the article, "a_kind" with it.

    "hero.name" is what a first mention of {hero.name} draws from, where that is not all of "name".
    """
    found = {}
    for slot, texts in lists.items():
        role, dot, aspect = slot.rpartition(".")
        found[slot], found[f"{role}{dot}a_{aspect}"] = _bare_and_with_article(tuple(texts))
    return found


@lru_cache(maxsize=4096)
def _bare_and_with_article(texts: tuple[str, ...]) -> tuple[Options, Options]:
    return evenly(texts), Options((1, words.article(text), text) for text in texts)


POOLS = pools(
    {
        "name": words.NAMES,
        "hero.name": words.PEOPLE,
        "friend.name": words.PETS,
        "neighbor.name": words.NEIGHBORS,
        "kind": words.ANIMALS_AND_TRADES,
        "hero.kind": words.TRADES,
        "friend.kind": words.ANIMALS,
        "neighbor.kind": words.TRADES,
        "trait": words.TRAITS,
        "home": words.HOMES,
        "spot": words.SPOTS,
        "place": words.PLACES,
        "adjective": words.ADJECTIVES,
        "noun": words.NOUNS + words.CLOTHES,
        "thing.noun": words.NOUNS,
        "other.noun": words.CLOTHES,
        "weather": words.WEATHERS,
        "time": words.TIMES,
        "day": words.DAYS,
        "ingredient": words.INGREDIENTS,
        "dish": words.DISHES,
        "hiding": words.HIDING,
        "riddle": list(words.RIDDLES),
        "answer": sorted(words.RIDDLES.values()),
        "guess": sorted([*words.RIDDLES.values(), *words.WRONG_GUESSES]),
    }
)


@cache
def pair(texts: tuple[str, str]) -> Options:
    """Two pronouns."""
    return evenly(texts)


@dataclass
class World:
    """The state of one tale, and the teller that tells it."""

    teller: Teller
    pools: dict[str, Options] = field(default_factory=lambda: POOLS)
    roles: dict[str, Referent] = field(default_factory=dict)
    draws: dict[tuple[str, str], Options] = field(default_factory=dict)  # where a first mention is no even draw
    mentions: list[Mention] = field(default_factory=list)
    events: list[tuple[Any, str, Any, int]] = field(default_factory=list)
    sentences: list[tuple[int, int]] = field(default_factory=list)
    holders: dict[Referent, Referent] = field(default_factory=dict)
    places: dict[Referent, str] = field(default_factory=dict)
    plot: str = ""
    outcome: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)  # of the form of each sentence

    def role(self, role: str) -> Referent:
        """Who plays a role; someone new when nobody does yet."""
        if role not in self.roles:
            self.roles[role] = Referent(role)
        return self.roles[role]

    def cast(self, role: str, referent: Referent) -> None:
        """Give a further role to someone: the winner is the friend."""
        self.roles[role] = referent

    def fact(self, subject: Referent, relation: str, object: Any) -> None:
        """Something is so from this sentence on."""
        self.events.append((subject, relation, object, max(len(self.sentences) - 1, 0)))

    def give(self, thing: str, to: str) -> None:
        """A thing changes hands."""
        self.holders[self.role(thing)] = self.role(to)
        self.fact(self.role(to), "has", self.role(thing))

    def lose(self, thing: str) -> None:
        """Nobody has the thing any more."""
        if (holder := self.holders.pop(self.role(thing), None)) is not None:
            self.fact(holder, "no longer has", self.role(thing))

    def go(self, role: str, place: str) -> None:
        """Someone is at a place from now on."""
        self.places[self.role(role)] = place
        self.fact(self.role(role), "is at", place)

    def mood(self, **moods: str) -> None:
        """How the players of some roles feel from now on: glad or sad."""
        for role, mood in moods.items():
            if self.role(role).mood != mood:
                self.role(role).mood = mood
                self.fact(self.role(role), "mood", mood)

    def tell(self, *forms: str, truth: str | None = None, why: str = "", **labelled: tuple | str) -> str:
        """Tell one sentence in one of its forms, and return the label of the form.

        Forms come plain or by label (found=(...), lost=(...)), each a text or (weight, text). With `truth`, only the
        forms of that label are true; a judge finds the others grammatical, but false.
        """
        start = self.teller.offset
        if start:
            self.teller.say(" ")
            start += 1
        self.sentences.append((start, start))
        self.teller.sentence = len(self.sentences)
        label = walk(self.teller, _branches(forms, tuple(labelled.items())), self.slot, truth, why)
        self.sentences[-1] = (start, self.teller.offset)
        self.labels.append(label)
        return label

    def slot(self, role: str, aspect: str) -> Blank:
        """What the slot {role.aspect} says, and what is false there."""
        referent = self.role(role)
        if aspect in PRONOUNS:
            return self._pronoun(referent, aspect)
        if aspect == "feels":
            return self._feeling(referent)
        everything = self.pools[aspect]
        bare = aspect.removeprefix("a_")
        mention = partial(self._mention, referent, bare)
        if bare in referent.attributes:
            truth = referent.attributes[bare]
            text = truth if bare == aspect else words.article(truth)
            return Blank(only(text, truth), everything, partial(referent.describe, bare), mention)
        options = self.draws.get((role, bare)) or self.pools.get(f"{role}.{aspect}", everything)
        return Blank(options, None, None, mention)

    def _pronoun(self, referent: Referent, aspect: str) -> Blank:
        text = PRONOUNS[aspect][referent.name in words.SHE or referent.name.startswith("Mrs ")]
        why = lambda found: f"{referent} is not {found!r}, but {text!r}"  # noqa: E731
        return Blank(only(text, text), pair(PRONOUNS[aspect]), why, lambda value: None)

    def _feeling(self, referent: Referent) -> Blank:
        other = "sad" if referent.mood == "glad" else "glad"
        why = lambda found: f"{referent} is {referent.mood} here, not {found}"  # noqa: E731
        return Blank(FEELINGS[referent.mood], FEELINGS[other], why, lambda value: self.fact(referent, "feels", value))

    def _mention(self, referent: Referent, aspect: str, value: str) -> None:
        """Note the words just said as a mention of the referent, which has this attribute from now on."""
        if aspect not in referent.attributes:
            referent.attributes[aspect] = value
            if aspect in FACTS_OF_ASPECTS:
                self.fact(referent, FACTS_OF_ASPECTS[aspect], value)
        if (kind := KIND_OF_MENTION.get(aspect)) is None:
            return
        end = self.teller.offset
        start = end - len(value)
        if aspect in JOINED and self.mentions:
            last = self.mentions[-1]
            if last.kind == "part" and last.referent is referent and last.end == start - 1:
                start = self.mentions.pop().start
                value = f"{last.text} {value}"
        self.mentions.append(Mention(value, kind, referent, start, end))

    def protagonist(self) -> Referent:
        """The one the tale is about."""
        return next(iter(self.roles.values()))

    def named_mentions(self) -> list[tuple[str, str, int, int]]:
        """(text, kind, start, end) of every mention; a name is that of a person or an animal."""
        mentions = []
        for text, kind, referent, start, end in self.mentions:
            if kind == "name":
                kind = "animal" if referent.attributes.get("kind") in words.ANIMALS else "person"
            mentions.append((text, kind, start, end))
        return mentions

    def named_facts(self) -> list[Fact]:
        """The facts in order, with names in place of referents."""
        return [Fact(str(subject), relation, str(object), at) for subject, relation, object, at in self.events]

    def final_state(self) -> dict[str, dict[str, str]]:
        """In the end: who has which thing ("has", by thing), who is where ("at") and feels how ("feels", by name)."""
        beings = {referent for referent in self.roles.values() if referent.mood}
        return {
            "has": {str(thing): str(holder) for thing, holder in self.holders.items()},
            "at": {str(being): place for being, place in self.places.items()},
            "feels": {str(being): being.mood for being in sorted(beings, key=str)},
        }


@cache
def _branches(forms: tuple, labelled: tuple) -> tuple[Branch, ...]:
    """The tree of all forms of a sentence."""
    groups = [("", forms)] + [(label, (group,) if isinstance(group, str) else group) for label, group in labelled]
    plain = ((label, form) for label, group in groups for form in group)
    return tree((label, form, 1) if isinstance(form, str) else (label, form[1], form[0]) for label, form in plain)
