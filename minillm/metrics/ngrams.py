"""Runs of n words, and how many of them two texts share: what ROUGE, BLEU and the rest are made of."""

import re
from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache

from minillm.metrics.scores import Scores

ROUGE_SETTINGS = "tokens:a-z0-9|case:lower|stem:no|f:1"

Words = Sequence[Hashable]


@lru_cache(maxsize=256)  # one text is mostly scored in several ways, or against several others
def tokenize_rouge(text: str) -> tuple[str, ...]:
    """The words of a text as ROUGE sees them: lower case, runs of a to z and 0 to 9, all else is a gap.

    What has no such letters has no words: a text in Greek scores 0 against itself.

    >>> tokenize_rouge("It isn't a café; it's 1,000.5!")
    ('it', 'isn', 't', 'a', 'caf', 'it', 's', '1', '000', '5')
    """
    return tuple(re.findall("[a-z0-9]+", text.lower()))


def ngrams(tokens: Words, n: int) -> Iterable[Hashable]:
    """Every run of n tokens, in order: tuples, or for n = 1 the tokens themselves; ValueError unless n >= 1.

    >>> list(ngrams("abcd", 2))
    [('a', 'b'), ('b', 'c'), ('c', 'd')]
    """
    if n < 1:
        raise ValueError(f"n-grams of {n} tokens do not exist: n is 1 or more")
    return tokens if n == 1 else zip(*(tokens[i:] for i in range(n)))


def ngram_counts(tokens: Words, n: int) -> dict[Hashable, int]:
    """How often each n-gram occurs."""
    counts = {}
    for gram in ngrams(tokens, n):  # faster than a Counter, whose set-up costs more than a sentence
        counts[gram] = counts.get(gram, 0) + 1
    return counts


def clipped_matches(references: Sequence[Words], candidate: Words, n: int) -> int:
    """How many n-grams of the candidate some reference has: each counts as often as it occurs in one reference at most.

    Source: Papineni et al. 2002, section 2.1.

    >>> clipped_matches(["the cat is on the mat".split()], "the the the".split(), 1)
    2
    """
    left = ngram_counts(references[0], n)
    for reference in references[1:]:
        for gram, count in ngram_counts(reference, n).items():
            if count > left.get(gram, 0):
                left[gram] = count
    matches = 0
    for gram in ngrams(candidate, n):
        count = left.get(gram)
        if count:
            left[gram] = count - 1  # used up
            matches += 1
    return matches


def ngram_scores(reference: str | Words, candidate: str | Words, n: int) -> Scores:
    """Precision, recall and F1 of the n-grams that two texts share, clipped.

    A string is cut as ROUGE does it, lists of tokens are taken as they are. Scores are 0 for fewer than n tokens.

    >>> ngram_scores("the cat sat", "the the cat", 1)[:2]   # two of three words, both ways
    (0.6666666666666666, 0.6666666666666666)
    """
    settings = ROUGE_SETTINGS if isinstance(reference, str) and isinstance(candidate, str) else "tokens:given|f:1"
    reference, candidate = (tokenize_rouge(t) if isinstance(t, str) else t for t in (reference, candidate))
    matches = clipped_matches([reference], candidate, n)
    sizes = (max(len(tokens) - n + 1, 0) for tokens in (reference, candidate))
    return Scores.from_counts(matches, *sizes, f"ngrams-{n}|{settings}")
