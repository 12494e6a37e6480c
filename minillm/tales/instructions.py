"""Instructions about a tale and what a good assistant answers: KINDS of them, all answers known from the state.

A conversation begins with a tale and asks about it, turn by turn. EXACT kinds have one right answer; a summary has a
form of its own but is compared by its words; what continues a tale may be any sentence that can. Half of the questions
that cannot be answered could be in another tale, so that one has to look.
"""

import random
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from minillm.tales import words
from minillm.tales.documents import Tale, reading, tell
from minillm.tales.gists import gist
from minillm.tales.tasks import passage, pick, two_names

MOST_CHARACTERS = 740  # characters of a conversation
CONTINUED = 1 / 12  # share of the conversations that give the beginning of a tale and ask what comes next
SHARE = 2  # of a kind among the questions; but what is soon learned comes less often, and what is hard more:
SHARES = {"ending": 1, "owner": 3, "tense": 3}
MOST_TURNS = 6  # questions about a passage
PASSAGES = (  # how many of 22, which sentences of a tale, and the kinds of questions for which they suffice
    *5 * [(slice(0, 1), ("who", "where", "what", "format"))],
    *6 * [(slice(0, 3), ("who", "where", "what", "when", "format", "refuse"))],
    *4 * [(slice(2, -2), ("owner", "what"))],
    *7 * [(slice(-2, None), ("tense", "ending", "feeling", "list"))],
)
SAID = ("who", "where", "what", "when", "format", "owner")  # kinds whose answers stand in the text, word by word
REFUSAL = "The tale does not say."
HOME = ("Where did {name} live?", "Where was {name}'s home?", "Where was {name} at home?")
FEELING = ("How did {name} feel in the end, happy or sad? Say one word.", "In one word: was {name} happy or sad?")
WHETHER = {"neighbor": "Was somebody else there?", "food": "Was there any food?", "due": "Was there a day with a name?"}
PERHAPS = {  # what only some of the tales say: question, role, attributes
    "who": ("Who else was there?", "neighbor", "{name}"),
    "what": ("What food was there?", "food", "{ingredient} {dish}"),
    "when": ("Which day was it?", "due", "{day}"),
}
UNTOLD = (
    "How old was {name}?",
    "What color were {name}'s eyes?",
    "What did {name} eat in the morning?",
    "Who was {name}'s mother?",
    "How tall was {name}?",
    "What song did {name} sing best?",
)
PRESENT = {  # of the verbs in the last two sentences of a tale
    "was": "is", "felt": "feels", "slept": "sleeps", "lay": "lies", "sang": "sings", "sighed": "sighs", "went": "goes",
}  # fmt: skip
GLAD_AND_SAD = (("slept well", "lay awake"), ("sang all", "sighed all"), ("with a smile", "without a word"))


class Turn(NamedTuple):
    """A question of some kind, and the answer to it."""

    kind: str
    question: str
    answer: str


def _who(rng: random.Random, tale: Tale) -> tuple[str, str] | None:
    """None where it asks for a trade that a neighbour has too."""
    hero, friend = tale.roles["hero"], tale.roles["friend"]
    beings = [tale.roles.get(role, {}) for role in ("hero", "friend", "neighbor", "stranger")]
    kinds = [parts["kind"] for parts in beings if "kind" in parts]
    question, answer = pick(
        rng,
        (
            (f"Who was the friend of {hero['name']}?", friend["name"]),
            (f"Who lived in the {hero['home']}?", hero["name"]),
            (f"Who was the {hero['kind']}?", hero["name"]),
            (f"Who was the {friend['kind']}?", friend["name"]),
        ),
    )
    return (question, answer) if len(set(kinds)) == len(kinds) else None


def _where(rng: random.Random, tale: Tale) -> tuple[str, str]:
    hero = tale.roles["hero"]
    return pick(rng, HOME).format(name=hero["name"]), f"in the {hero['home']}"


def _what(rng: random.Random, tale: Tale) -> tuple[str, str]:
    hero, thing = tale.roles["hero"], tale.roles["thing"]
    return pick(
        rng,
        (
            (f"What was {hero['name']}?", words.article(hero["kind"])),
            ("What thing was it about?", words.article(thing["noun"])),
        ),
    )


def _when(rng: random.Random, tale: Tale) -> tuple[str, str]:
    weather, season = tale.roles["when"]["weather"].split()
    return pick(
        rng,
        (
            ("In which season did it happen?", season),
            ("How was the weather?", weather),
            ("At what time of the day did it happen?", tale.roles["when"]["time"]),
        ),
    )


def _yes_no(rng: random.Random, tale: Tale) -> tuple[str, str]:
    """How somebody felt, or whether the tale has what only some have, yes as often as no where it can be."""
    if rng.random() < 1 / 3:
        name, said = sad_one_first(rng, tale), pick(rng, ("happy", "sad"))
        return f"Was {name} {said} in the end?", "yes" if said == mood(tale, name) else "no"
    found = {question: role in tale.roles for role, question in WHETHER.items()}
    wanted = rng.random() < 0.5
    question = pick(rng, [question for question in found if found[question] == wanted] or list(found))
    return question, "yes" if found[question] else "no"


def _list(rng: random.Random, tale: Tale) -> tuple[str, str]:
    both = two_names(tale).values()
    return pick(
        rng,
        (
            ("List the two friends.", ", ".join(both)),
            ("List how the two friends felt.", "; ".join(f"{name}, {mood(tale, name)}" for name in both)),
        ),
    )


def _owner(rng: random.Random, tale: Tale) -> tuple[str, str] | None:
    """Who has the thing in the end; None in tales where nobody does, or somebody without a name."""
    thing = "{adjective} {noun}".format(**tale.roles["thing"])
    owner = tale.final["has"].get(thing)
    if owner not in two_names(tale).values():
        return None
    return f"Who had the {tale.roles['thing']['noun']} in the end?", owner


def _feeling(rng: random.Random, tale: Tale) -> tuple[str, str]:
    name = sad_one_first(rng, tale)
    return pick(rng, FEELING).format(name=name), mood(tale, name)


def sad_one_first(rng: random.Random, tale: Tale) -> str:
    """One of the two friends; half of the time one who is sad, if one is: there is more gladness in the tales."""
    wanted = pick(rng, ("happy", "sad"))
    both = list(two_names(tale).values())
    return pick(rng, [name for name in both if mood(tale, name) == wanted] or both)


def mood(tale: Tale, name: str) -> str:
    """How somebody feels in the end, in a word."""
    return "happy" if tale.final["feels"][name] == "glad" else "sad"


def _tense(rng: random.Random, tale: Tale) -> tuple[str, str]:
    question, index = pick(rng, (("Tell the last sentence as if it were now.", -1), ("Tell how they feel now.", -2)))
    return question, " ".join(PRESENT.get(word, word) for word in tale.sentence(index).split())


def _ending(rng: random.Random, tale: Tale) -> tuple[str, str]:
    sentence = tale.sentence(-1)
    glad, sad = next(pair for pair in GLAD_AND_SAD if pair[0] in sentence or pair[1] in sentence)
    changed = sentence.replace(glad, sad) if glad in sentence else sentence.replace(sad, glad)
    mood = "sad" if glad in sentence else "happy"
    return f"Change the last sentence, so that {tale.roles['hero']['name']} is {mood}.", changed


def _format(rng: random.Random, tale: Tale) -> tuple[str, str]:
    hero = tale.roles["hero"]
    return f"Write down {hero['name']} as name: kind, home.", f"{hero['name']}: {hero['kind']}, {hero['home']}"


def _refuse(rng: random.Random, tale: Tale) -> tuple[str, str]:
    """What no tale says, or what another tale would have said."""
    missing = [question for question, role, _ in PERHAPS.values() if role not in tale.roles]
    if missing and rng.random() < 0.5:
        return pick(rng, missing), REFUSAL
    return pick(rng, UNTOLD).format(name=two_names(tale)[pick(rng, ("hero", "friend"))]), REFUSAL


def _sentiment(rng: random.Random, tale: Tale) -> tuple[str, str]:
    name = sad_one_first(rng, tale)
    return f"Sentiment of {name}, positive or negative?", {"happy": "positive", "sad": "negative"}[mood(tale, name)]


def _summary(rng: random.Random, tale: Tale) -> tuple[str, str]:
    return pick(rng, ("Tell the tale in one sentence.", "What happened, in one sentence?")), gist(tale)


EXACT: dict[str, Callable[[random.Random, Tale], tuple[str, str] | None]] = {
    "who": _who,
    "where": _where,
    "what": _what,
    "when": _when,
    "yes or no": _yes_no,
    "list": _list,
    "owner": _owner,
    "feeling": _feeling,
    "tense": _tense,
    "ending": _ending,
    "format": _format,
    "refuse": _refuse,
}
QUESTIONS = EXACT | {"summary": _summary}
# A kind that is not among KINDS: a task that comes later, to see what learning it alone does to the others.
LATER: dict[str, Callable[[random.Random, Tale], tuple[str, str]]] = {"sentiment": _sentiment}
OPEN_KINDS = ("summary", "continue", "letter")  # without a single right answer; the last is in `letters`
KINDS = (*QUESTIONS, "continue")


def right_answer(kind: str, prompt: str, expected: str, answer: str) -> bool:
    """Whether an answer is right: what continues a tale must be a sentence that can, any other must be as expected.

    prompt: the message that it answers, which for "continue" begins with the tale so far.
    """
    if kind == "continue":
        begun = prompt.split("\n")[0] + " " + answer.strip()
        return answer.strip().endswith((".", '"')) and reading(begun).stopped in (None, len(begun))
    return " ".join(answer.split()) == " ".join(expected.split())


def question_about(rng: random.Random, tale: Tale, kind: str) -> Turn | None:
    """A question of a kind about a tale, or None where the tale has no answer of that kind."""
    question, role, form = PERHAPS.get(kind, ("", "", ""))
    if role in tale.roles and rng.random() < 1 / 3:
        return Turn(kind, question, form.format(**tale.roles[role]))
    found = (QUESTIONS | LATER)[kind](rng, tale)
    return None if found is None else Turn(kind, *found)


def make_instructions(n: int, seed: int, kinds: tuple[str, ...] = KINDS) -> list[dict]:
    """Conversations about tales: {"messages": [{"role", "content"}, ...], "kinds": that of each answer}.

    The first message holds the tale and the first question, with a blank line between. A few give the beginning of a
    tale and ask for its next sentence. `kinds` are those that are asked: of KINDS, or "sentiment".
    """
    return list(islice(instruction_stream(seed, kinds), n))


def instruction_stream(seed: int, kinds: tuple[str, ...] = KINDS) -> Iterator[dict]:
    """The conversations of `make_instructions` without end."""
    rng = random.Random(f"instructions {seed}")
    about = [kind for kind in kinds if kind != "continue" for _ in range(SHARES.get(kind, SHARE))]
    while True:
        tale = tell(rng)
        if not about or ("continue" in kinds and rng.random() < CONTINUED):
            cut = 3 + int(rng.random() * 3)
            text = passage(tale, range(cut))
            turns = [Turn("continue", "What comes next?", tale.sentence(cut))]
        else:
            text, turns = tale.text, _turns(rng, tale, about, len(tale.text))
        if turns:
            yield _conversation(text, turns)


def passage_stream(seed: int) -> Iterator[dict]:
    """Conversations without end about a part of a tale: easier, as there is less to look through.

    What a model never needed to tell tales, such as the trade of a hero, it hardly learns to find in a whole one: as
    long as it looks everywhere, no place gets much of the gradient. In a sentence or three there are few places.
    """
    rng = random.Random(f"passages {seed}")
    while True:
        tale = tell(rng)
        part, kinds = pick(rng, PASSAGES)
        text = passage(tale, range(len(tale.sentences))[part])
        turns = _turns(rng, tale, [kind for kind in kinds for _ in range(SHARE)], len(text))
        there = {"a", "an", *re.findall(r"\w+", text.lower())}
        turns = [t for t in turns if t.kind not in SAID or there.issuperset(re.findall(r"\w+", t.answer.lower()))]
        if turns:
            yield _conversation(text, turns[:MOST_TURNS])


def _conversation(text: str, turns: list[Turn]) -> dict:
    """The record of a conversation that begins with a text."""
    messages = []
    for place, turn in enumerate(turns):
        question = f"{text}\n\n{turn.question}" if place == 0 else turn.question
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": turn.answer}]
    return {"messages": messages, "kinds": [turn.kind for turn in turns]}


def _turns(rng: random.Random, tale: Tale, about: list[str], length: int) -> list[Turn]:
    """Different questions about a tale, in random order, as many as stay within MOST_CHARACTERS from `length` on."""
    turns: dict[str, Turn] = {}
    for _, kind in sorted((rng.random(), kind) for kind in about):
        turn = question_about(rng, tale, kind)
        if turn is not None and turn.question not in turns:
            length += len(turn.question) + len(turn.answer)
            if length > MOST_CHARACTERS:
                break
            turns[turn.question] = turn
    return list(turns.values())
