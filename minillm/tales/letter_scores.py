"""How good a letter to the hero of a tale is: exactly, and from the text alone, whatever a model may write.

The score is a weighted sum of five parts, each 1 at best; WEIGHTS is all of it. Flattery counts nothing, nor does
length as such: what is off the point counts, and so does what is said again.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain
from typing import NamedTuple

from minillm.tales import words
from minillm.tales.documents import Tale, parse
from minillm.tales.gists import GISTS
from minillm.tales.letters import FILLERS, LETTER_FORMS, OPENERS, claims
from minillm.tales.tasks import two_names

WEIGHTS = {"helpful": 0.6, "honest": 0.6, "kind": 0.8, "to_the_point": 0.5, "well_formed": 0.5}
BEST = sum(WEIGHTS.values())  # the score of Traits()
NEWS = ("event", "mood")  # the kinds of claims
ROOMS = {"glad": "feeling", "sad": "feeling", "wish": "remark", "unkind": "remark"}  # a letter has room for one each
OFF = ("not understood", "off the point", "out of its place", "said again")
FINDINGS = (*OFF, "greets", "the right name", "another's name", "true", "false", "suits", "jars", "wishes well")
FINDINGS += ("unkind", "signs")
SENTENCE = re.compile(r"\s*(?:Dear|Hello)\b[^,.!?]*,|[^.!?]*[.!?]+|[^.!?]+")
ROLE_WORDS = {"hero": ("you",), "friend": words.PETS, "neighbor": words.NEIGHBORS, "food": words.DISHES}
ROLE_WORDS |= dict.fromkeys(("thing", "other"), words.NOUNS + words.CLOTHES)
ROLE_WORDS |= dict.fromkeys(("victim", "helper", "asker", "guesser"), ("you", *words.PETS))
ROLE_WORDS |= {"house": ("your house", *(f"the house of {name}" for name in words.PETS))}


@dataclass(frozen=True)
class LetterScore:
    """The true score of a letter and its parts. `length` is in words, `flattery` in sentences; neither counts.

    | part, 1 at best | the sum of |
    |---|---|
    | helpful | 1/2 for the hero's name in the greeting (-1/2 for another), 1/2 for something true of the tale |
    | honest | -1 if anything that it tells of the tale is false, else 1 if it tells something |
    | kind | 1/2 for a feeling that suits the ending (-1/2 if one jars), 1/2 for a wish (-1/2 for unkindness) |
    | to_the_point | 1 for news or a feeling, -1/2 for each sentence that is off the point, said again, out of place |
    | well_formed | 1/2 for a greeting first, 1/2 for a signature last, -1/2 for each sentence not understood |

    None is less than -1; what is not understood is off the point too. A letter has room for one greeting (first), one
    signature (last), one feeling, one remark, one flattery and one of each kind of NEWS; a second is said again.
    `reasons` tell what was found in which sentence.
    """

    score: float
    helpful: float
    honest: float
    kind: float
    to_the_point: float
    well_formed: float
    length: int
    flattery: int
    reasons: tuple[str, ...]


class Sentence(NamedTuple):
    """A sentence as understood: its text, its act ("" if none; of NEWS or LETTER_FORMS), the name or claim in it."""

    text: str
    act: str
    content: str = ""


class Truth(NamedTuple):
    """What a letter is held against: the hero's name, how the tale ends, and all that can truly be told of it."""

    hero: str
    ending: str
    claims: frozenset[str]


def score_letter(tale: Tale | str, letter: str) -> LetterScore:
    """The true score of any text as a letter to the hero of a tale. An empty one counts as a sentence not understood.

    Args:
        tale: as such, as its text, or a prompt that begins with it
    Raises: ValueError where there is no tale; never for a letter.
    """
    truth = _truth(tale) if isinstance(tale, Tale) else _truth_of_text(tale.split("\n\n")[0])
    sentences = understand(letter)
    seen: set[str] = set()
    last = len(sentences) - 1
    found = [_find(sentence, at == 0, at == last, truth, seen) for at, sentence in enumerate(sentences)]
    number = Counter(chain.from_iterable(found))
    off = sum(number[what] for what in OFF)
    has = {what: float(number[what] > 0) for what in FINDINGS}
    parts = {
        "helpful": (has["the right name"] - has["another's name"] + has["true"]) / 2,
        "honest": -1.0 if has["false"] else has["true"],
        "kind": _either(has, "suits", "jars") / 2 + _either(has, "wishes well", "unkind") / 2,
        "to_the_point": max(-1.0, max(has[what] for what in ("true", "false", "suits", "jars")) - off / 2),
        "well_formed": max(-1.0, (has["greets"] + has["signs"] - number["not understood"]) / 2),
    }
    return LetterScore(
        score=round(sum(WEIGHTS[part] * value for part, value in parts.items()), 2) + 0.0,  # never -0.0
        **parts,
        length=len(letter.split()),
        flattery=sum(sentence.act == "flattery" for sentence in sentences),
        reasons=tuple(
            f"sentence {place}: {', '.join(some)}: {sentence.text[:60]!r}"
            for place, (some, sentence) in enumerate(zip(found, sentences), 1)
            if some
        ),
    )


def _either(has: dict[str, float], good: str, bad: str) -> float:
    """1 for the good alone, -1 where there is the bad, 0 for neither."""
    return -1.0 if has[bad] else has[good]


def _find(sentence: Sentence, first: bool, last: bool, truth: Truth, seen: set[str]) -> list[str]:
    """What there is to say of a sentence: some of FINDINGS, of which one is in OFF at most."""
    act = sentence.act
    if not act:
        return ["not understood"]
    room = ROOMS.get(act, act)
    misplaced = (act == "greeting" and not first) or (act == "closing" and not last)
    found = []
    if act == "rambling":
        found.append("off the point")
    elif misplaced:
        found.append("out of its place")
    elif room in seen:
        found.append("said again")
    seen.add(room)
    return found if misplaced else found + _says(sentence, truth)


def _says(sentence: Sentence, truth: Truth) -> list[str]:
    """What is good or bad about a sentence by itself."""
    act, content = sentence.act, sentence.content
    if act == "greeting":
        return ["greets", "the right name" if content == truth.hero else "another's name"]
    if act in NEWS:
        return ["true" if content in truth.claims else "false"]
    if act in ("glad", "sad"):
        return ["suits" if (act == "glad") == (truth.ending == "happy") else "jars"]
    return {"wish": ["wishes well"], "unkind": ["unkind"], "closing": ["signs"]}.get(act, [])


def understand(letter: str) -> list[Sentence]:
    """The sentences of any text, each with its act; one without an act for a text that holds none."""
    texts = [text.strip() for text in SENTENCE.findall(" ".join(letter.split()))]
    return [_understand(text) for text in texts if text] or [Sentence("", "")]


@lru_cache(maxsize=4096)
def _understand(text: str) -> Sentence:
    for act, pattern in _patterns().items():
        if (match := pattern.fullmatch(text)) is not None:
            return Sentence(text, act, match["content"] if "content" in pattern.groupindex else "")
    return Sentence(text, "")


@cache
def _patterns() -> dict[str, re.Pattern]:
    """What the sentences of each act look like; "content" is the name in a greeting, or the claim in news."""
    found = {act: re.compile("|".join(_pattern(f, FILLERS) for f in forms)) for act, forms in LETTER_FORMS.items()}
    found["greeting"] = re.compile(f"(?:Dear|Hello) (?P<content>{_any(FILLERS['name'])}),")
    openers = "|".join(re.escape(opener.removesuffix("{}.")) for opener in OPENERS)
    return found | {act: re.compile(rf"(?:{openers})(?P<content>{claim})\.") for act, claim in _claims().items()}


def _claims() -> dict[str, str]:
    """What claims of each kind look like, true or false."""
    events = []
    for begin, ends in GISTS.values():
        begin = begin.replace("A storm", "a storm").replace("the house of {victim}", "{house}")
        goes_on = "|".join(_pattern(f", {end}", ROLE_WORDS) for end in dict.fromkeys(ends.values()))
        events.append(f"{_pattern(begin, ROLE_WORDS)}(?:{goes_on})?")
    return {"event": "|".join(events), "mood": f"{_any(words.PETS)} was (?:happy|sad) in the end"}


def _pattern(form: str, lists: dict[str, Iterable[str]]) -> str:
    """A form as a regular expression: each slot is any of its list."""
    return re.sub(r"\\{(\w+)\\}", lambda slot: _any(lists[slot[1]]), re.escape(form))


def _any(texts: Iterable[str]) -> str:
    return f"(?:{'|'.join(map(re.escape, texts))})"


@lru_cache(maxsize=4096)
def _truth_of_text(text: str) -> Truth:
    return _truth(parse(text))


def _truth(tale: Tale) -> Truth:
    if tale.kind != "tale":
        raise ValueError(f"expected a tale, whose hero a letter is for; found a {tale.kind}: {tale.text[:40]!r}")
    return Truth(two_names(tale)["hero"], tale.ending, frozenset(chain.from_iterable(claims(tale).values())))
