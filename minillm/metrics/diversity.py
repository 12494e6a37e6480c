"""Whether texts say more than one thing: distinct n-grams, repetition, likeness among samples. No reference needed.

Words are what stands between white space, but for self-BLEU, which cuts them as BLEU does.
"""

from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Sequence

from minillm.metrics.bleu_score import bleu_of_totals, tokenize_13a
from minillm.metrics.ngrams import ngram_counts, ngrams
from minillm.metrics.scores import Score


def distinct_n(texts: Sequence[str], n: int) -> Score:
    """The share of different n-grams of words among all n-grams of the texts; 0 when there are none.

    It falls as texts get longer, so compare only samples of one size.
    Raises: ValueError for one text in the place of a list, which would be read letter by letter.
    Source: Li et al. 2016.

    >>> distinct_n(["a b a b"], 2)    # ab, ba, ab
    0.6666666666666666
    """
    _list_of_texts(texts, "distinct_n")
    grams = [gram for text in texts for gram in ngrams(text.split(), n)]
    value = len(set(grams)) / len(grams) if grams else 0.0
    return Score(value, f"distinct-{n}|tokens:white space|case:mixed|texts:{len(texts)}")


def repetition(text: str, n: int = 4) -> Score:
    """The share of the n-grams of a text that occurred in it before; 0 when there are none.

    Source: seq-rep-n of Welleck et al. 2020.

    >>> repetition("again and again and again", 2)    # the last two of four: "again and", "and again", twice
    0.5
    """
    grams = list(ngrams(text.split(), n))
    value = 1 - len(set(grams)) / len(grams) if grams else 0.0
    return Score(value, f"repetition-{n}|tokens:white space|case:mixed")


def self_bleu(texts: Sequence[str], order: int = 4) -> Score:
    """Mean over the texts of `sentence_bleu` with all other texts as references, 0 to 100: high where they are alike.

    It grows with the number of texts, so compare only samples of one size.
    Raises: ValueError for fewer than two texts, and for one text in the place of a list.
    Source: Zhu et al. 2018.

    >>> self_bleu(["a b c d", "a b c d", "x y"])   # 100, 100 and 0
    66.6666666666667
    """
    _list_of_texts(texts, "self_bleu")
    if len(texts) < 2:
        raise ValueError(f"self-BLEU compares texts with each other: it takes at least two, not {len(texts)}")
    tokens = [tokenize_13a(text) for text in texts]
    matches = zip(*(_matches_with_others([ngram_counts(own, n) for own in tokens]) for n in range(1, order + 1)))
    lengths, scores = Counter(map(len, tokens)), []
    for own, matched in zip(tokens, matches):
        length = len(own)
        others = [other for other in lengths if other != length or lengths[length] > 1]
        closest = min(others, key=lambda other: (abs(other - length), other))
        totals = [max(length - n + 1, 0) for n in range(1, order + 1)]
        scores.append(bleu_of_totals([len(texts) - 1, length, closest, *matched, *totals], effective=True))
    return Score(sum(one.score for one in scores) / len(texts), f"self-{scores[0].signature}")


def _list_of_texts(texts: Sequence[str], name: str) -> None:
    if isinstance(texts, str):
        raise ValueError(f"{name} scores a list of texts, and {texts[:60]!r} is one: put it in a list")


def _matches_with_others(counts: list[dict]) -> list[int]:
    """For each text, given its n-gram counts, its matches clipped by the largest count in any other text, in one pass.

    The second largest count of all is the other texts' largest where one's own is the first, else it clips nothing.
    """
    all_counts = defaultdict(lambda: [0])  # of each n-gram, by text, sorted
    for own in counts:
        for gram, count in own.items():
            insort(all_counts[gram], count)
    return [sum(min(count, all_counts[gram][-2]) for gram, count in own.items()) for own in counts]
