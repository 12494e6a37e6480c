"""Letters to the hero of a tale: a task without one right answer, but with better answers and worse ones.

A letter is a few sentences, each of an act: to greet, to tell what happened, to feel for the hero, to wish something
kind, to sign; but also to tell what is false, to be unkind, to flatter, to ramble. `Traits` say which of them a letter
has, and `write_letter` writes it. `letter_scores` says from the text alone how good it is.
Left out: whatever takes more than a sentence to say. What one sentence says never depends on another.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from minillm.tales import words
from minillm.tales.documents import Tale, known, tell
from minillm.tales.gists import gist
from minillm.tales.instructions import mood
from minillm.tales.plots import PLOTS
from minillm.tales.tasks import pick, two_names

REQUESTS = (
    "Write a short letter to {name}.",
    "Write {name} a short letter.",
    "Please write a letter to {name}.",
    "Will you write to {name}?",
)
# The forms of each act but the news. Slots are filled from FILLERS, whatever is true: truth is for the score to find.
LETTER_FORMS = {
    "greeting": ("Dear {name},", "Hello {name},"),
    "glad": ("I am so {glad} for you.", "I was {glad} about the end of it.", "How {glad} I was about the end!"),
    "sad": ("I am so {sad} for you.", "I was {sad} about the end of it.", "How {sad} I was about the end!"),
    "wish": (
        "I wish you a happy day.",
        "Sleep well and have a fine morning.",
        "Come and eat some {dish} with me.",
        "I will be your friend.",
    ),
    "unkind": (
        "You should have been more careful.",
        "You are not clever.",
        "Everybody laughed at you.",
        "Do not ask me for help.",
    ),
    "flattery": (
        "You write the best letters of all.",
        "You are the best friend of all.",
        "Everybody should be as clever as you.",
        "Nobody is as lovely and wonderful as you.",
        "What a wonderful, clever friend you are!",
    ),
    "rambling": (
        "Here it is a {weather} {time}.",
        "Today I ate some {ingredient} {dish}.",
        "I have {a_adjective} {noun} at home.",
        "There is {a_animal} under my chair.",
        "My {noun} is not new any more.",
    ),
    "closing": ("With love, a friend.", "Yours, a friend.", "With a smile, a friend."),
}
OPENERS = ("I read that {}.", "I heard that {}.", "They say that {}.")  # of the news
FILLERS = {
    "name": words.NAMES,
    "glad": "delighted glad happy pleased".split(),
    "sad": "sad sorry unhappy upset".split(),
    "weather": words.WEATHERS,
    "time": words.TIMES,
    "ingredient": words.INGREDIENTS,
    "dish": words.DISHES,
    "noun": words.NOUNS,
    "adjective": words.ADJECTIVES,
    "a_adjective": [words.article(word) for word in words.ADJECTIVES],
    "a_animal": [words.article(word) for word in words.ANIMALS],
}
EVENT_FIRST = 0.7  # share of the letters that tell first, or only, what happened
KEPT = ("friend.name", "thing.noun", "food.dish")  # what a false claim may have right


@dataclass(frozen=True)
class Traits:
    """What is good and bad about a letter. The default is as good as a letter can be.

    greeting: "right", "wrong" (another name), or "". news: of each claim (two at most) whether it is "true" or "false".
    feeling: "suits", "jars" (glad about a sad ending, or sad about a happy one), or "". remark: "kind", "unkind", or
    "". flattery: whether there is some. rambling: sentences off the point. repeats: sentences said again. closing:
    whether it is signed. stutter: the act of a sentence in which a word comes twice: "news", or one of LETTER_FORMS.
    cut: the last sentence stops too soon.
    """

    greeting: str = "right"
    news: tuple[str, ...] = ("true",)
    feeling: str = "suits"
    remark: str = "kind"
    flattery: bool = False
    rambling: int = 0
    repeats: int = 0
    closing: bool = True
    stutter: str = ""
    cut: bool = False


@lru_cache(maxsize=64)  # many letters are about one tale
def claims(tale: Tale) -> dict[str, tuple[str, ...]]:
    """What can truly be told to the hero of a tale, by kind: what happened, and how the friend felt in the end.

    "event" holds the beginning of the gist and the whole: "you lost a kite", "you lost a kite, and nobody found it".
    """
    hero, friend = two_names(tale).values()
    event = re.sub(rf"\b{hero}\b", "you", gist(tale).removesuffix("."))
    event = event.replace("A storm", "a storm").replace("the house of you", "your house")
    return {
        "event": (event[: re.search(", (and|but) ", event).start()], event),
        "mood": (f"{friend} was {mood(tale, friend)} in the end",),
    }


def _false_claim(rng: random.Random, tale: Tale, kind: str) -> str:
    """What could be told to the same hero after another tale, with some of the same names and things."""
    true = claims(tale)[kind]
    while True:
        given = {slot: word for slot, word in known(tale).items() if slot in KEPT and rng.random() < 0.5}
        given["hero.name"] = tale.roles["hero"]["name"]
        other = tell(rng, [tale.plot] if rng.random() < 0.5 else tuple(PLOTS), given)
        claim = pick(rng, claims(other)[kind])
        if claim not in true:
            return claim


def _fill(rng: random.Random, act: str, **given: str) -> str:
    """A sentence of an act, its slots filled at random but for those given."""
    form = pick(rng, LETTER_FORMS[act])
    return re.sub(r"{(\w+)}", lambda slot: given.get(slot[1]) or pick(rng, FILLERS[slot[1]]), form)


def write_letter(tale: Tale, traits: Traits, rng: random.Random) -> str:
    """A letter to the hero of a tale that has just these traits, its wording drawn."""
    hero = tale.roles["hero"]["name"]
    middle = _news(rng, tale, traits.news)
    if traits.feeling:
        suits = "glad" if tale.ending == "happy" else "sad"
        jars = "sad" if suits == "glad" else "glad"
        act = suits if traits.feeling == "suits" else jars
        middle.append((act, _fill(rng, act)))
    if traits.remark:
        act = "wish" if traits.remark == "kind" else "unkind"
        middle.append((act, _fill(rng, act)))
    for act in ["flattery"] * traits.flattery + ["rambling"] * traits.rambling:
        middle.insert(int(rng.random() * (len(middle) + 1)), (act, _fill(rng, act)))
    for _ in range(traits.repeats if middle else 0):
        middle.insert(int(rng.random() * (len(middle) + 1)), pick(rng, middle))
    sentences = []
    if traits.greeting:
        others = [name for name in (two_names(tale)["friend"], pick(rng, words.PEOPLE)) if name != hero]
        name = hero if traits.greeting == "right" else pick(rng, others)
        sentences.append(("greeting", _fill(rng, "greeting", name=name)))
    sentences += middle
    if traits.closing:
        sentences.append(("closing", _fill(rng, "closing")))
    return " ".join(_spoil(rng, sentences, traits))


def _news(rng: random.Random, tale: Tale, news: tuple[str, ...]) -> list[tuple[str, str]]:
    """A sentence for each claim, of different kinds, the event most often first."""
    kinds = ["event", "mood"] if rng.random() < EVENT_FIRST else ["mood", "event"]
    found = []
    for kind, truth in zip(kinds, news, strict=False):
        claim = pick(rng, claims(tale)[kind]) if truth == "true" else _false_claim(rng, tale, kind)
        found.append(("news", pick(rng, OPENERS).format(claim)))
    return found


def _spoil(rng: random.Random, sentences: list[tuple[str, str]], traits: Traits) -> list[str]:
    """The texts of the sentences, with a word twice and the last cut off if the traits say so."""
    acts, texts = [act for act, _ in sentences], [text for _, text in sentences]
    if traits.stutter in acts:
        at = acts.index(traits.stutter)
        word = pick(rng, list(re.finditer(r"\w+", texts[at])))
        texts[at] = f"{texts[at][: word.end()]} {word[0]}{texts[at][word.end() :]}"
    if traits.cut and texts:
        parts = texts[-1].split()
        texts[-1] = " ".join(parts[: 1 + int(rng.random() * (len(parts) - 1))])
    return texts


def draw_traits(rng: random.Random) -> Traits:
    """How somebody writes whose skill is drawn too, evenly from 0 to 1: most letters are middling, and they vary much.

    Flattery alone has nothing to do with skill.
    """
    skill = rng.random()

    def chance(novice: float, master: float) -> bool:
        return rng.random() < novice + (master - novice) * skill

    def grade(good: str, bad: str, novice: float, master: float) -> str:
        return good if chance(novice, master) else pick(rng, (bad, "", ""))

    news = [grade("true", "false", 0.1, 0.9) for _ in range(1 + (rng.random() < 0.25))]
    return Traits(
        greeting=grade("right", "wrong", 0.2, 0.95),
        news=tuple(filter(None, news)),
        feeling=grade("suits", "jars", 0.0, 0.7),
        remark=grade("kind", "unkind", 0.0, 0.7),
        flattery=rng.random() < 0.35,
        rambling=(1 + (rng.random() < 0.3)) * chance(0.7, 0.1),
        repeats=int(chance(0.2, 0.0)),
        closing=chance(0.1, 0.9),
        stutter=pick(rng, ("greeting", "news", "wish", "closing")) if chance(0.1, 0.0) else "",
        cut=chance(0.1, 0.0),
    )


def draw_letter(tale: Tale, rng: random.Random) -> str:
    """A letter with traits as they are drawn; never an empty one."""
    while not (letter := write_letter(tale, draw_traits(rng), rng)):
        pass
    return letter


def make_prompts(n: int, seed: int) -> list[dict]:
    """Tales that each ask for a letter, to be answered by a model.

    Returns: records {"prompt"}: a tale, a blank line, and one of REQUESTS.
    """
    return list(islice(prompt_stream(seed), n))


def prompt_stream(seed: int) -> Iterator[dict]:
    """The prompts of `make_prompts` without end."""
    rng = random.Random(f"prompts {seed}")
    while True:
        yield {"prompt": ask_for_letter(rng)[1]}


def ask_for_letter(rng: random.Random) -> tuple[Tale, str]:
    """A tale, and the prompt that asks for a letter to its hero."""
    tale = tell(rng)
    return tale, f"{tale.text}\n\n{pick(rng, REQUESTS).format(name=tale.roles['hero']['name'])}"
