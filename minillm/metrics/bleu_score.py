"""BLEU: n-gram precision of a corpus against references, with a penalty for brevity (Papineni et al. 2002).

The same numbers as sacrebleu, on its scale of 0 to 100: its tokenizer 13a, case kept, the reference closest in length
(of two equally close the shorter), no match at all is 0. Left out: its other tokenizers, lower-casing, chrF and TER.

BLEU was made for corpora. `sentence_bleu` scores one text, where short ones have no 4-grams and most have a precision
of 0 somewhere: there the smoothing decides (Chen & Cherry 2014).
"""

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from minillm.metrics.ngrams import clipped_matches

References = str | Sequence[str]  # of one candidate
BLEU_SMOOTHING = {"exp": None, "floor": 0.1, "add-k": 1.0, "none": None}  # sacrebleu's values


class Bleu(NamedTuple):
    """BLEU from 0 to 100 and what it is made of.

    score = brevity_penalty * geometric mean of the precisions, which are percentages for n = 1, 2, ..., smoothed.
    Lengths are in tokens. The signature is sacrebleu's, with the highest n before it.
    """

    score: float
    precisions: tuple[float, ...]
    brevity_penalty: float
    candidate_length: int
    reference_length: int
    signature: str


def bleu(
    candidates: Sequence[str],
    references: Sequence[References],
    smooth: str = "exp",
    smooth_value: float | None = None,
    order: int = 4,
) -> Bleu:
    """Corpus BLEU: matches and lengths are added up before anything is divided, so it is no mean of sentence scores.

    Args:
        references: references[i] belongs to candidates[i]: one text or several (sacrebleu's lists, transposed).
        smooth: what becomes of an n without matches. "exp": each such n halves what one match would have given, further
            than the n before; "floor": it counts `smooth_value` matches (0.1); "add-k": every n > 1 counts
            `smooth_value` more n-grams, and matches (1); "none": BLEU is 0. A corpus without a single n-gram of some n
            is 0 under "exp", "floor" and "none".
    Raises: ValueError for lists that do not belong together and unknown smoothing.
    Source: Papineni et al. 2002, section 2.3.

    >>> bleu(["the cat sat on the mat"], ["the cat is on the mat"], smooth="none", order=2).precisions   # 5/6, 3/5
    (83.33333333333333, 60.0)
    """
    return bleu_of(bleu_statistics(candidates, references, order), smooth, smooth_value)


def sentence_bleu(
    candidate: str, references: References, smooth: str = "exp", smooth_value: float | None = None, order: int = 4
) -> Bleu:
    """BLEU of one text, over those n that it is long enough for ("effective order"): two words, both right, get 100."""
    return bleu_of_totals(_statistics(candidate, references, order), smooth, smooth_value, effective=True)


def bleu_statistics(candidates: Sequence[str], references: Sequence[References], order: int = 4) -> Tensor:
    """What BLEU has to know of each text: it is made of the sums, so the bootstrap draws rows and reads no text again.

    Returns: (N, 3 + 2 * order): number of references, length, that of the closest reference, matches and n-grams by n.
    """
    if isinstance(candidates, str) or isinstance(references, str):
        raise ValueError("bleu scores a list of texts: for one text take sentence_bleu")
    if len(candidates) != len(references) or not len(candidates):
        raise ValueError(
            f"there are {len(candidates)} candidates and {len(references)} references: give references[i], a text or a "
            "list of texts, for each candidates[i], at least one"
        )
    return torch.tensor([_statistics(*pair, order) for pair in zip(candidates, references)])


def bleu_of(statistics: Tensor, smooth: str = "exp", smooth_value: float | None = None) -> Bleu:
    """Corpus BLEU of rows of `bleu_statistics`."""
    low, high = statistics[:, 0].aminmax()
    nrefs = int(low) if low == high else "var"
    return bleu_of_totals([nrefs, *map(int, statistics[:, 1:].sum(0).tolist())], smooth, smooth_value)


def bleu_of_totals(
    totals: Sequence, smooth: str = "exp", smooth_value: float | None = None, effective: bool = False
) -> Bleu:
    """BLEU of one row of statistics, or of the sum of several."""
    k = _smoothing_value(smooth, smooth_value)
    order = (len(totals) - 3) // 2
    nrefs, length, reference_length = totals[:3]
    penalty = 1.0 if length >= reference_length else math.exp(1 - reference_length / length) if length else 0.0
    used = _precisions(totals[3 : 3 + order], totals[3 + order :], smooth, k)
    precisions = used + [0.0] * (order - len(used))
    used = used if effective else precisions
    score = penalty * math.exp(sum(map(math.log, used)) / len(used)) if used and all(used) else 0.0
    name = smooth if k is None else f"{smooth}[{k:.2f}]"
    signature = f"bleu-{order}|nrefs:{nrefs}|case:mixed|eff:{'yes' if effective else 'no'}|tok:13a|smooth:{name}"
    return Bleu(score, tuple(precisions), penalty, length, reference_length, signature)


def _statistics(candidate: str, references: References, order: int) -> list[int]:
    references = [references] if isinstance(references, str) else references
    if not len(references):
        raise ValueError(f"there is no reference for {candidate!r}: give at least one")
    if order < 1:
        raise ValueError(f"the order is {order}: BLEU counts n-grams of at least n = 1")
    candidate, references = tokenize_13a(candidate), list(map(tokenize_13a, references))
    length, orders = len(candidate), range(1, order + 1)
    closest = min((abs(len(reference) - length), len(reference)) for reference in references)[1]
    matches = [clipped_matches(references, candidate, n) for n in orders]
    return [len(references), length, closest, *matches, *(max(length - n + 1, 0) for n in orders)]


def _smoothing_value(smooth: str, value: float | None) -> float | None:
    if smooth not in BLEU_SMOOTHING:
        raise ValueError(f"there is no smoothing {smooth!r}: choose one of {', '.join(BLEU_SMOOTHING)}")
    if value is not None and BLEU_SMOOTHING[smooth] is None:
        raise ValueError(f"smoothing {smooth!r} takes no value, but {value} is given")
    if value is not None and value <= 0:
        raise ValueError(f"smoothing {smooth!r} adds a positive value, not {value}")
    return BLEU_SMOOTHING[smooth] if value is None else value


def _precisions(matches: Sequence[int], totals: Sequence[int], smooth: str, k: float | None) -> list[float]:
    """Percentages for each n that has n-grams; none at all when nothing matches."""
    precisions, halvings = [], 0
    for n, (matched, total) in enumerate(zip(matches, totals), 1):
        if smooth == "add-k" and n > 1:
            matched, total = matched + k, total + k
        if total == 0 or not any(matches):
            break
        if matched == 0 and smooth == "exp":
            halvings += 1
            matched = 0.5**halvings
        elif matched == 0 and smooth == "floor":
            matched = k
        precisions.append(100 * matched / total)
    return precisions


def tokenize_13a(text: str) -> tuple[str, ...]:
    """The tokens of a text as mteval-v13a cuts them, the convention of machine translation: marks apart from words.

    A point or comma stays inside of a number, a hyphen inside of a word, and an apostrophe everywhere. None of the
    rules looks past white space, so words are cut one by one and remembered.

    >>> tokenize_13a('He paid 1,000.5 for "state-of-the-art" (it isn&quot;t).')
    ('He', 'paid', '1,000.5', 'for', '"', 'state-of-the-art', '"', '(', 'it', 'isn', '"', 't', ')', '.')
    """
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "")
    for entity, mark in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        text = text.replace(entity, mark)
    return tuple(chain.from_iterable(map(_cut_13a, text.split())))


RULES_13A = [
    (re.compile(r"([!-&(-+/:-@[-`{-~])"), r" \1 "),  # every ASCII mark but ' , - .
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),  # a point or comma not after a digit
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),  # or not before one
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),  # a hyphen after a digit
]


@lru_cache(maxsize=2**16)
def _cut_13a(word: str) -> tuple[str, ...]:
    word = f" {word} "
    for pattern, apart in RULES_13A:
        word = pattern.sub(apart, word)
    return tuple(word.split())
