"""ROUGE: how much of a reference a text recalls, in n-grams or in what stands in the same order (Lin 2004).

The same numbers as the package rouge-score, without its options: words are runs of a to z and 0 to 9 in lower case, F
weighs precision and recall alike. Left out: Porter stemming (rouge-score offers it, off by default), stop words,
ROUGE-W and ROUGE-S, several references (take the one of the highest F1), splitting a text into sentences (put a
newline between them). `mean_scores` averages over texts.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import chain

from minillm.metrics.ngrams import ROUGE_SETTINGS, Words, ngram_scores, tokenize_rouge
from minillm.metrics.scores import Scores
from minillm.metrics.words import words_of


def rouge_n(reference: str, candidate: str, n: int) -> Scores:
    """ROUGE-N: clipped overlap of n-grams.

    Source: Lin 2004, section 2.

    >>> fox = "The quick brown fox jumps over the lazy dog", "The quick brown dog jumps on the log."
    >>> rouge_n(*fox, 2)    # "the quick" and "quick brown", of seven pairs of words and of eight
    Scores(precision=0.2857142857142857, recall=0.25, f1=0.26666666666666666, signature='rouge-2|...')
    """
    return Scores(*ngram_scores(reference, candidate, n), f"rouge-{n}|{ROUGE_SETTINGS}")


def rouge_l(reference: str, candidate: str) -> Scores:
    """ROUGE-L: the words of the longest common subsequence, over the whole text.

    A subsequence keeps the order and may leave gaps. Newlines are gaps like others: for summaries of several sentences
    papers mostly report `rouge_lsum`.
    Source: Lin 2004, section 3.1.

    >>> rouge_l("police killed the gunman", "the gunman kill police").f1    # the gunman
    0.5
    """
    reference, candidate = tokenize_rouge(reference), tokenize_rouge(candidate)
    length = lcs_length(reference, candidate)
    return Scores.from_counts(length, len(reference), len(candidate), f"rouge-l|{ROUGE_SETTINGS}")


def rouge_reads(text: str) -> bool:
    """Whether ROUGE sees most of a text: of its letters and digits, half or more are a to z and 0 to 9.

    Elsewhere a score says nothing: equal texts may get 0, and different ones 1.

    >>> rouge_reads("naïve 1"), rouge_reads("3 яблока")
    (True, False)
    """
    seen, there = (sum(map(len, words)) for words in (tokenize_rouge(text), words_of(text)))
    return 0 < there <= 2 * seen


def rouge_lsum(reference: str, candidate: str) -> Scores:
    """ROUGE-Lsum: ROUGE-L by sentence, one a line.

    Of each sentence of the reference those words count that stand in its longest common subsequence with any sentence
    of the candidate (their union), and no word more often than either text has it. Where several subsequences are
    longest, which one is taken matters; it is the one of rouge-score.
    Source: Lin 2004, section 3.2.

    >>> rouge_lsum("w1 w2 w3 w4 w5", "w1 w2 w6 w7 w8\\nw1 w3 w8 w9 w5").recall    # Lin's example: all but w4
    0.8
    """
    references, candidates = ([tokenize_rouge(line) for line in text.split("\n")] for text in (reference, candidate))
    left = Counter(chain.from_iterable(references)) & Counter(chain.from_iterable(candidates))
    matches = 0
    for sentence in references:
        for place in set().union(*(lcs_places(sentence, other) for other in candidates)):
            if left[sentence[place]]:
                left[sentence[place]] -= 1
                matches += 1
    sizes = (sum(map(len, sentences)) for sentences in (references, candidates))
    return Scores.from_counts(matches, *sizes, f"rouge-lsum|{ROUGE_SETTINGS}|sentences:newline|lcs:union")


def lcs_length(first: Words, second: Words) -> int:
    """The length of the longest common subsequence.

    >>> lcs_length("police killed the gunman".split(), "police kill the gunman".split())
    3
    """
    return len(first) - (_lcs_rows(first, second)[-1] & ~(-1 << len(first))).bit_count()


def lcs_places(first: Words, second: Words) -> list[int]:
    """Where in `first` the words of one longest common subsequence stand, last one first.

    Walks the table from its far corner as rouge-score does: a common word is taken, else the larger neighbour, and of
    equal ones the one with a word of `first` less.
    """
    rows, places = _lcs_rows(first, second), []
    i, j = len(first), len(second)
    while i and j:
        if first[i - 1] == second[j - 1]:
            i, j = i - 1, j - 1
            places.append(i)
        elif rows[j] >> (i - 1) & 1:
            i -= 1
        else:
            j -= 1
    return places


def _lcs_rows(first: Words, second: Sequence[Hashable]) -> list[int]:
    """The table of longest common subsequences, each row in the bits of one integer (Hyyrö 2004).

    Let L[i][j] be the length for the first i words of `first` and j of `second`. From i - 1 to i it grows by 0 or 1,
    and bit i - 1 of row j is 1 where it does not grow. With one more word of `second` that growth moves down, through
    the ones below it, to the lowest match among them. The carry of one addition does so for every growth at once: it
    starts at the lowest match in a run of ones and ends in the 0 above the run.
    """
    matches: dict[Hashable, int] = {}
    for i, word in enumerate(first):
        matches[word] = matches.get(word, 0) | 1 << i
    rows = [(1 << len(first)) - 1]
    for word in second:
        common = rows[-1] & matches.get(word, 0)
        rows.append((rows[-1] + common) | (rows[-1] - common))
    return rows
