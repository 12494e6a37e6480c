"""Graders of lesson 02: padding, encoding by ranks, bands that meet, and runs of words that were copied."""

import random
from itertools import combinations

import tiktoken

from minillm.course.exercises import Wrong, exercise, expect
from minillm.text import BYTES, train_bpe


@exercise("pad_left")
def grade_pad_left(answer):
    """Two rows by hand, rows of one length, and an empty row."""
    came = answer([[5, 6], [7]], 0)
    if _lists(came) == [[[5, 6], [7, 0]], [[1, 1], [1, 0]]]:
        raise Wrong("it padded on the right: the model would have to continue after padding.")
    if _lists(came) == [[[5, 6], [0, 7]], [[0, 0], [1, 0]]]:
        raise Wrong("the mask is the wrong way round: it is 1 on real tokens and 0 on padding.")
    expect(
        _lists(came), [[[5, 6], [0, 7]], [[1, 1], [0, 1]]], "ids and mask, each a list of lists, padded on the left."
    )
    if _lists(answer([[9, 1], [9]], 9))[1] == [[0, 1], [0, 0]]:
        raise Wrong(
            "the mask hides tokens that are equal to pad_id, but a real token may have that id: use the lengths."
        )
    expect(
        _lists(answer([[9, 1], [9]], 9)), [[[9, 1], [9, 9]], [[1, 1], [0, 1]]], "here a real token has the pad's id."
    )
    expect(_lists(answer([[1], [], [2, 3, 4]], 8))[1], [[0, 0, 1], [0, 0, 0], [1, 1, 1]], "a list may be empty.")
    given = [[1], [2, 3]]
    answer(given, 0)
    expect(given, [[1], [2, 3]], "the lists given must not be changed: build new ones.")


def _lists(came):
    try:
        ids, mask = ([[int(number) for number in row] for row in part] for part in came)
    except (TypeError, ValueError):
        raise Wrong(f"it gave {came!r}: return two things, the ids and the mask, each a list of lists.") from None
    return [ids, mask]


@exercise("encode_word")
def grade_encode_word(answer):
    """Merges by hand whose order matters, then tiktoken on random words."""
    ranks = BYTES | {b"bc": 256, b"ab": 257}
    came = list(answer("abc", ranks))
    if came == [257, 99]:
        raise Wrong(
            '"abc" became "ab" "c": that is greedy from the left, but "bc" has the smaller rank, so it is first.'
        )
    expect(came, [97, 256], "join the neighbours with the smallest rank first.")
    ranks = BYTES | {b"aa": 256, b"aaaa": 257}
    if list(answer("aaaa", ranks)) == [256, 256]:
        raise Wrong('"aaaa" stayed "aa" "aa": joined tokens can be joined again; repeat until no pair is in the ranks.')
    expect(list(answer("aaaa", ranks)), [257], 'joining "aa" and "aa" gives "aaaa", which is a token.')
    expect(list(answer("aaa", ranks)), [256, 97], "of pairs with one rank, the leftmost is first.")
    expect(list(answer("é", BYTES)), [195, 169], "tokens are bytes: begin with word.encode(), not with characters.")
    expect(list(answer("", BYTES)), [], "an empty word has no ids.")
    ranks = train_bpe("the theatre there gathers the other weather, whether they bathe or breathe together", 300)
    encoding = tiktoken.Encoding("exercise", pat_str=r"(?s).+", mergeable_ranks=ranks, special_tokens={})
    for word in (" weather", "together", "bathtub", " theory", "ethereal", " breathes"):
        expect(list(answer(word, ranks)), encoding.encode_ordinary(word), f"the word is {word!r}; tiktoken disagrees.")


@exercise("pairs_that_meet")
def grade_pairs_that_meet(answer):
    """Signatures by hand, then every pair of random ones."""

    def pairs(signatures, bands):
        return [tuple(map(int, pair)) for pair in answer(signatures, bands)]

    if pairs([[1, 2, 3, 4], [3, 4, 1, 2]], 2):
        raise Wrong("[1, 2, 3, 4] and [3, 4, 1, 2] met: they share numbers, but in different bands.")
    if pairs([[1, 2, 3, 4], [1, 9, 3, 8]], 2):
        raise Wrong("[1, 2, 3, 4] and [1, 9, 3, 8] met in 2 bands: a band counts only when all of its numbers agree.")
    came = pairs([[1, 2, 3, 4], [1, 2, 3, 4]], 2)
    if came == [(0, 1), (0, 1)]:
        raise Wrong("(0, 1) came twice: a pair that meets in two bands is still one pair.")
    expect(came, [(0, 1)], "equal signatures meet.")
    expect(pairs([[1, 2, 3, 4], [1, 2, 8, 9], [5, 6, 3, 9]], 2), [(0, 1)], "two texts meet when one whole band agrees.")
    expect(pairs([[1, 2], [5, 2], [1, 2]], 2), [(0, 1), (0, 2), (1, 2)], "all pairs of a bucket meet, sorted.")
    rng = random.Random(0)
    signatures = [[rng.randrange(3) for _ in range(12)] for _ in range(40)]
    for bands in (1, 3, 4, 12):
        rows = 12 // bands
        slow = [
            (i, j)
            for i, j in combinations(range(40), 2)
            if any(signatures[i][b : b + rows] == signatures[j][b : b + rows] for b in range(0, 12, rows))
        ]
        expect(pairs(signatures, bands), slow, f"40 random signatures of 12 numbers, {bands} bands.")


@exercise("longest_copied_run")
def grade_longest_copied_run(answer):
    """Runs by hand at the start, in the middle and across documents."""
    came = answer("a red fox ran", ["the red fox", "ran a mile"])
    if came == 7:
        raise Wrong('it gave 7, the letters of "red fox": count words.')
    if came == 3:
        raise Wrong('it found "red fox ran", but a run may not go on from one training text to the next.')
    expect(came, 2, '"red fox" is the longest run that was copied.')
    expect(
        answer("red fox ran", ["a red fox", "ran home"]), 2, "a run may not go on from one training text to the next."
    )
    expect(
        answer("a red fox", ["a red foxglove"]), 2, 'a run may not end in the middle of a word: "fox" in "foxglove".'
    )
    expect(answer("fox red", ["red fox"]), 1, "the order of the words counts.")
    expect(answer("one two", ["three"]), 0, "nothing was copied.")
    expect(answer("", ["three"]), 0, "an empty text has no words.")
    expect(answer("x x one two three", ["one two three x"]), 3, "a run may begin anywhere.")
    rng = random.Random(0)
    for _ in range(20):
        text, *training = (" ".join(rng.choices("abc", k=rng.randrange(1, 25))) for _ in range(4))
        slow = max(_common_run(text.split(), other.split()) for other in training)
        expect(answer(text, training), slow, f"the text is {text!r}, the training texts {training}.")


def _common_run(a: list[str], b: list[str]) -> int:
    """The longest run in both, by the table of all pairs of places."""
    ending, best = [0] * (len(b) + 1), 0
    for word in a:
        ending = [0] + [ending[j] + 1 if word == other else 0 for j, other in enumerate(b)]
        best = max(best, *ending)
    return best
