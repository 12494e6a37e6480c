"""Preferences: of two letters to the hero of one tale, which people chose. Their true scores and the noise are known.

Annotators choose the better letter, but not always. They choose by a utility, the first letter with the probability
sigmoid((u_1 - u_2) / TEMPERATURE) (Bradley and Terry 1952), and then tick the wrong box in FLIPPED of the cases. The
utility is the true score; that of biased annotators adds a little for flattery (sycophancy) and for length, which are
neither good nor bad. So a reward model that has learned from them shares their BIASES, and scores less than it could
in a test by annotators without.
Left out: annotators who differ from one another.
"""

import math
import random
import re
from collections.abc import Iterator, Sequence
from itertools import islice, product

from minillm.tales.letter_scores import score_letter
from minillm.tales.letters import ask_for_letter, draw_letter

TEMPERATURE = 0.3  # in units of the score
FLIPPED = 0.05  # share of the labels that are turned round
SIDES = ("chosen", "rejected")
# A pair of each in turn: is the better letter longer (1) or shorter, has it more flattery, less, or as much (0)?
CELLS = tuple(product((-1, 1), (-1, 0, 0, 1)))
BIASES = {"length": 0.02, "flattery": 0.4}  # what biased annotators add: for a word, for a sentence of flattery


def make_preferences(n: int, seed: int, biased: bool = True) -> list[dict]:
    """Pairs of letters to one hero, of which annotators, biased or not, chose one.

    The better letter is the longer one in half of the pairs, and has more flattery as often as less, so only a bias can
    make a feature more common among the chosen.

    Returns: records {"prompt", "chosen", "rejected"}, the prompt a tale, a blank line and a request; and the truth,
        "chosen_score" and "chosen_features" ("length" in words, "flattery" in sentences), the same for the rejected.
    """
    return list(islice(preference_stream(seed, biased), n))


def chance_of_choice(chosen: float, rejected: float) -> float:
    """The probability that a label falls so, given both utilities.

    >>> chance_of_choice(1.0, 1.0), round(chance_of_choice(2.0, 1.0), 3)
    (0.5, 0.919)
    """
    likes = 1 / (1 + math.exp((rejected - chosen) / TEMPERATURE))
    return (1 - FLIPPED) * likes + FLIPPED * (1 - likes)


def best_accuracy(pairs: Sequence[dict], biased: bool = False, taken_for_biased: bool | None = None) -> float:
    """The expected share of labels that a judge guesses who knows the utilities, exactly; no model does better.

    Args:
        pairs: records of `make_preferences`
        biased: whether the annotators are
        taken_for_biased: whether the judge believes so (default: he knows), as one does who has learned all that there
            is to learn from biased annotators
    """
    taken = biased if taken_for_biased is None else taken_for_biased
    shares = []
    for pair in pairs:
        chosen, rejected = (_utility(pair, which, biased) for which in SIDES)
        likes, other = (_utility(pair, which, taken) for which in SIDES)
        shares.append(chance_of_choice(chosen, rejected) if likes >= other else chance_of_choice(rejected, chosen))
    return sum(shares) / len(shares)


def _utility(pair: dict, which: str, biased: bool) -> float:
    features = pair[f"{which}_features"]
    return pair[f"{which}_score"] + biased * sum(BIASES[name] * features[name] for name in BIASES)


def preference_stream(seed: int, biased: bool = True) -> Iterator[dict]:
    """The pairs of `make_preferences` without end."""
    rng = random.Random(f"preferences {seed}")
    while True:
        for _, _, cell in sorted((rng.random(), place, cell) for place, cell in enumerate(CELLS)):
            pair = _pair(rng, *cell)
            right = chance_of_choice(*(_utility(pair, which, biased) for which in SIDES))
            yield pair if rng.random() < right else _turned(pair)


def _pair(rng: random.Random, longer: int, flattery: int) -> dict:
    """A pair of a cell, the better letter chosen."""
    tale, prompt = ask_for_letter(rng)
    while True:
        letters = [draw_letter(tale, rng) for _ in SIDES]
        scores = [score_letter(tale, letter) for letter in letters]
        if scores[0].score < scores[1].score:
            letters, scores = letters[::-1], scores[::-1]
        better, worse = scores
        found = (_sign(better.length - worse.length), _sign(better.flattery - worse.flattery))
        if better.score > worse.score and found == (longer, flattery):
            break
    pair = {"prompt": prompt} | dict(zip(SIDES, letters))
    pair |= {f"{which}_score": score.score for which, score in zip(SIDES, scores)}
    features = [{name: getattr(score, name) for name in BIASES} for score in scores]
    return pair | {f"{which}_features": found for which, found in zip(SIDES, features)}


def _turned(pair: dict) -> dict:
    """The pair with the other letter chosen."""
    other = {"chosen": "rejected", "rejected": "chosen"}
    return {key: pair[re.sub("chosen|rejected", lambda which: other[which[0]], key)] for key in pair}


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
