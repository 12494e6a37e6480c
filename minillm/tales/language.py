"""Lantic, a second language of the tales: word for word with another order, so that every translation is exact.

Each word has one word in the other language, whose vowels and consonants are other ones; names stay. Within a clause
(up to a punctuation mark) the words stand the other way round, the thing done before the one who does it. Both rules
can be undone for any text whatever, so a translation has one right answer and no judge is needed. What it is not: a
grammar of its own, words with two meanings, words that need two.

>>> to_lantic("Mira lost her red kite, and Tom found it.")
'daco kor vok zuwc Mira, ac guibr Tom ebr.'
"""

import random
import re
from collections.abc import Iterator
from itertools import islice

from minillm.tales import words
from minillm.tales.documents import document_stream

LANGUAGE = "Lantic"
_ORDERS = ("aeiou", "eoaui"), ("bcdfghjklmnpqrstvwxyz", "mtrglvsdzpbhnkwcfjqxy")
LETTERS = {old: new for plain, other in _ORDERS for old, new in zip(plain, other)}
BACK = {new: old for old, new in LETTERS.items()}
KEPT = frozenset(name.lower() for name in [*words.PEOPLE, *words.PETS])  # in either language the same
WORD = re.compile(r"\w+")
PLAIN = re.compile(r"[A-Za-z][a-z]*")  # words that have a counterpart


def to_lantic(text: str) -> str:
    """An English text in Lantic."""
    return _translated(text, LETTERS)


def from_lantic(text: str) -> str:
    """A text in Lantic in English: `from_lantic(to_lantic(text)) == text` for every text."""
    return _translated(text, BACK)


def _translated(text: str, letters: dict[str, str]) -> str:
    """Each clause, words between single spaces, turned round and put into other words."""
    pieces, clause, at = [], [], 0
    for match in WORD.finditer(text):
        gap = text[at : match.start()]
        if gap != " " and clause:
            pieces.append(" ".join(_clause(clause, letters)))
            clause = []
        if not clause:
            pieces.append(gap)
        clause.append(match[0])
        at = match.end()
    return "".join([*pieces, " ".join(_clause(clause, letters)), text[at:]])


def _clause(given: list[str], letters: dict[str, str]) -> list[str]:
    """The words of a clause the other way round; capitals, but for those of names, stay at their place."""
    turned = [word if _kept(word) else _word(word.lower(), letters) for word in reversed(given)]
    capital = iter([word[0].isupper() for word in given if not _kept(word)])
    return [word if _kept(word) else word.capitalize() if next(capital) else word for word in turned]


def _kept(word: str) -> bool:
    return word.lower() in KEPT or not PLAIN.fullmatch(word)


def _word(word: str, letters: dict[str, str]) -> str:
    """The counterpart of a word; one that would be a name is replaced again, so that no two have the same."""
    word = "".join(letters[letter] for letter in word)
    return _word(word, letters) if word in KEPT else word


def make_translations(n: int, seed: int, back: bool = False) -> list[dict]:
    """Sentences of tales to be translated, for `sft`: {"instruction", "input", "output"}; all of them different.

    Args: back: from Lantic into English.
    """
    return list(islice(translation_stream(seed, back), n))


def translation_stream(seed: int, back: bool = False) -> Iterator[dict]:
    """The records of `make_translations` without end."""
    rng, seen = random.Random(f"translations {seed}"), set()
    for tale in document_stream(seed, {"tale": 1}, "translations"):
        sentence = tale.sentence(int(rng.random() * len(tale.sentences)))
        if sentence in seen:
            continue
        seen.add(sentence)
        pair = (sentence, to_lantic(sentence))
        source, target = reversed(pair) if back else pair
        yield {"instruction": f"Say it in {'English' if back else LANGUAGE}.", "input": source, "output": target}
