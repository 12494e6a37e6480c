"""Whether an answer is the one expected: exact match and overlap of words, as SQuAD scores them.

With several references an answer gets its best: max(token_f1(r, answer).f1 for r in references).
"""

import re
import string

from minillm.metrics.ngrams import clipped_matches
from minillm.metrics.scores import Score, Scores

SQUAD_SETTINGS = "case:lower|punctuation:no|articles:no"
PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_words(text: str) -> list[str]:
    """The words of an answer, cut at white space, as SQuAD compares them: no case, ASCII punctuation, a, an, the.

    Source: Rajpurkar et al. 2016, section 6.1.

    >>> squad_words("The U.S.A.'s  well-known hero")
    ['usas', 'wellknown', 'hero']
    """
    return re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(PUNCTUATION)).split()


def exact_match(reference: str, candidate: str, squad: bool = False) -> Score:
    """1 where both texts are the same, white space aside, else 0; with `squad`, where their `squad_words` are."""
    cut, settings = (squad_words, SQUAD_SETTINGS) if squad else (str.split, "case:mixed|punctuation:yes|articles:yes")
    return Score(float(cut(reference) == cut(candidate)), f"exact match|{settings}|white space:any")


def token_f1(reference: str, candidate: str) -> Scores:
    """Precision, recall and F1 of the `squad_words` that both texts have, in any order (SQuAD's F1).

    All are 1 where neither text has words, as in version 2, whose answer to what cannot be answered is empty.

    >>> token_f1("the red lamp", "A lamp, red as fire")[:2]   # "a" and "the" do not count
    (0.5, 1.0)
    """
    reference, candidate = squad_words(reference), squad_words(candidate)
    sizes = len(reference), len(candidate)
    signature = f"token f1|{SQUAD_SETTINGS}|f:1"
    if not any(sizes):
        return Scores(1.0, 1.0, 1.0, signature)
    return Scores.from_counts(clipped_matches([reference], candidate, 1), *sizes, signature)
