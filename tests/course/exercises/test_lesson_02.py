"""Lesson 02's graders: the slips that people make are wrong, each with its own message."""

from itertools import combinations

import pytest

from minillm.course.exercises import grade


def padded(sequences, pad_id, left=True, one=1, by_id=False):
    longest = max(map(len, sequences), default=0)
    gaps = [longest - len(row) for row in sequences]
    ids = [[pad_id] * gap + row if left else row + [pad_id] * gap for row, gap in zip(sequences, gaps)]
    mask = [[1 - one] * gap + [one] * len(row) for row, gap in zip(sequences, gaps)]
    mask = mask if left else [row[::-1] for row in mask]
    return ids, [[int(i != pad_id) for i in row] for row in ids] if by_id else mask


def extends_its_input(sequences, pad_id):
    mask = padded(sequences, pad_id)[1]
    for row in sequences:
        row[:0] = [pad_id] * (max(map(len, sequences)) - len(row))
    return [list(row) for row in sequences], mask


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda s, p: padded(s, p, left=False), "padded on the right"),
        (lambda s, p: padded(s, p, one=0), "the wrong way round"),
        (lambda s, p: padded(s, p, by_id=True), "a real token may have that id"),
        (lambda s, p: padded(s, p)[0], "return two things"),
        (lambda s, p: (padded(s, p)[0],), "return two things"),
        (extends_its_input, "must not be changed"),
    ],
)
def test_wrong_padding_is_recognised(answer, message):
    verdict = grade("pad_left", answer)
    assert verdict.status == "wrong" and message in verdict.message


def greedy(word, ranks):
    left, ids = word.encode(), []
    while left:
        token = next(left[:n] for n in range(len(left), 0, -1) if left[:n] in ranks)
        ids, left = [*ids, ranks[token]], left[len(token) :]
    return ids


def merged(word, ranks, rounds=1000, last=False, start=None):
    parts = start(word) if start else [bytes([b]) for b in word.encode()]
    for _ in range(rounds):
        pairs = [(ranks[a + b], -i if last else i) for i, (a, b) in enumerate(zip(parts, parts[1:])) if a + b in ranks]
        if not pairs:
            break
        at = abs(min(pairs)[1])
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return [ranks[part] for part in parts]


def one_pass(word, ranks):
    parts, joined = [bytes([b]) for b in word.encode()], []
    for part in parts:
        if joined and len(joined[-1]) == 1 and joined[-1] + part in ranks and (joined[-1] + part) != b"ab":
            joined[-1] += part
        else:
            joined.append(part)
    return [ranks[part] for part in joined]


@pytest.mark.parametrize(
    "answer, message",
    [
        (greedy, "greedy from the left"),
        (one_pass, "joined tokens can be joined again"),
        (lambda word, ranks: merged(word, ranks, last=True), "the leftmost is first"),
        (lambda word, ranks: merged(word, ranks, start=lambda w: [c.encode() for c in w]), "KeyError"),
        (lambda word, ranks: merged(word, ranks, rounds=3), "tiktoken disagrees"),
        (lambda word, ranks: [ranks.get(word.encode(), 0)], "smallest rank"),
    ],
)
def test_wrong_encoding_is_recognised(answer, message):
    verdict = grade("encode_word", answer)
    assert verdict.status == "wrong" and message in verdict.message, verdict


def meet(signatures, bands, key=lambda band, numbers: (band, tuple(numbers)), keep=lambda pairs: sorted(set(pairs))):
    rows, pairs = len(signatures[0]) // bands, []
    keys = [[key(b, s[b * rows : (b + 1) * rows]) for b in range(bands)] for s in signatures]
    for i, j in combinations(range(len(signatures)), 2):
        pairs += [(i, j)] * len(set(keys[i]) & set(keys[j]))
    return keep(pairs)


def first_of_bucket_only(signatures, bands):
    first, pairs, rows = {}, set(), len(signatures[0]) // bands
    for i, signature in enumerate(signatures):
        for band in range(bands):
            before = first.setdefault((band, tuple(signature[band * rows : (band + 1) * rows])), i)
            pairs |= {(before, i)} if before != i else set()
    return sorted(pairs)


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda s, b: meet(s, b, key=lambda band, numbers: tuple(numbers)), "in different bands"),
        (lambda s, b: meet(s, b, key=lambda band, numbers: (band, numbers[0])), "all of its numbers agree"),
        (lambda s, b: meet(s, b, keep=sorted), "came twice"),
        (lambda s, b: [pair[::-1] for pair in meet(s, b)], "equal signatures meet"),
        (first_of_bucket_only, "all pairs of a bucket"),
        (lambda s, b: [], "expected"),
    ],
)
def test_wrong_pairs_are_recognised(answer, message):
    verdict = grade("pairs_that_meet", answer)
    assert verdict.status == "wrong" and message in verdict.message, verdict


def longest(text, training, count=len):
    words = text.split()
    runs = [words[i:j] for i in range(len(words)) for j in range(i + 1, len(words) + 1)]
    return max((count(run) for run in runs if any(inside(run, other.split()) for other in training)), default=0)


def inside(run, words):
    return any(words[i : i + len(run)] == run for i in range(len(words)))


def by_substring(text, training):
    words = text.split()
    runs = [words[i:j] for i in range(len(words)) for j in range(i + 1, len(words) + 1)]
    return max((len(run) for run in runs if any(" ".join(run) in other for other in training)), default=0)


def from_the_start(text, training):
    words = text.split()
    return max((n for n in range(len(words) + 1) if any(inside(words[:n], t.split()) for t in training)), default=0)


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda text, training: longest(text, training, count=lambda run: len(" ".join(run))), "count words"),
        (lambda text, training: longest(text, [" ".join(training)]), "from one training text to the next"),
        (by_substring, "in the middle of a word"),
        (from_the_start, '"red fox" is the longest run'),
        (lambda text, training: len(set(text.split()) & set(" ".join(training).split())), "expected"),
    ],
)
def test_wrong_runs_are_recognised(answer, message):
    verdict = grade("longest_copied_run", answer)
    assert verdict.status == "wrong" and message in verdict.message, verdict
