"""Documents that occur twice: exactly, or nearly, found without comparing every pair.

Two documents are near-duplicates when the sets of their shingles (every run of `width` words) overlap: their Jaccard
similarity |A and B| / |A or B| reaches a threshold. Three ideas make that cheap:

- MinHash. Under a random order of all shingles, two sets have the same first shingle with a probability that *is* their
  Jaccard similarity. So K orders give a signature of K numbers, and the share of equal ones estimates the similarity.
- Locality-sensitive hashing. Cut the signatures into bands of rows. Documents that agree on a whole band land in one
  bucket, and only they are compared. Similar ones almost surely meet in some band; others almost never do.
- Union-find joins the pairs that the comparison of the true sets confirms. The first document of a cluster stays.

Left out: languages written without spaces, copies of a part of a document, corpora larger than memory.
Papers: Broder 1997, "On the resemblance and containment of documents"; Leskovec, Rajaraman and Ullman, "Mining of
Massive Datasets", chapter 3; Lee et al. 2022, arXiv:2107.06499, on what duplicates do to language models.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from minillm.metrics import words_of
from minillm.text.normal import normalise_unicode

MERSENNE = 2**31 - 1  # a prime: products of two smaller numbers fit into 64 bits, and x mod p needs no division


def normalised_digest(text: str) -> bytes:
    """16 bytes that are equal for equal texts; case, white space and the way an accent is coded do not count.

    >>> normalised_digest("The  End.") == normalised_digest("the end.\\n")
    True
    """
    normal = " ".join(normalise_unicode(text).casefold().split())
    return hashlib.blake2b(normal.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def exact_duplicates(documents: Iterable[str]) -> list[int]:
    """For each document, the index of the first one with the same digest: its own, unless it is a copy.

    >>> exact_duplicates(["a tale", "a song", "A tale "])
    [0, 1, 0]
    """
    first: dict[bytes, int] = {}
    return [first.setdefault(normalised_digest(document), index) for index, document in enumerate(documents)]


def shingles(documents: Iterable[str], width: int = 5) -> list[np.ndarray]:
    """The set of shingles of each document, as sorted 31-bit numbers: a number for each run of `width` words.

    Words are compared without case and punctuation. A document with fewer than `width` words has one shingle, all of
    it; one without words has none. Different shingles get the same number about once in 2**31 times.
    """
    assert width >= 1, f"a shingle of {width} words"
    number: dict[str, int] = {}  # words by first appearance, from 1; 0 fills up short documents
    lengths, words = [], []
    for document in documents:
        found = words_of(document.lower())
        ids = [number.setdefault(word, len(number) + 1) for word in found]
        ids += [0] * (width - len(ids) if ids else 0)
        lengths.append(max(len(ids) - width + 1, 0))
        words += ids
    ids = np.array(words + [0] * width, dtype=np.uint64)
    hashes = np.zeros(len(words), dtype=np.uint64)
    for offset in range(width):
        hashes = mix(hashes + ids[offset : offset + len(words)])
    hashes %= np.uint64(MERSENNE)
    sets, begin = [], 0
    for length in lengths:  # the runs that begin in a document's last words reach into the next one: skip them
        sets.append(np.unique(hashes[begin : begin + length]))
        begin += length + width - 1 if length else 0
    return sets


def mix(x: np.ndarray) -> np.ndarray:
    """Spread 64-bit numbers over all 64-bit numbers, one to one (the finalizer of SplitMix64)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """The similarity of two sets of shingles, exactly; 0 when both are empty.

    >>> jaccard(*shingles(["the cat sat", "the cat ran"], width=2))   # {the cat, cat sat} and {the cat, cat ran}
    0.3333333333333333
    """
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / max(len(a) + len(b) - shared, 1)


def signatures(sets: Sequence[np.ndarray], hashes: int = 128, seed: int = 0) -> np.ndarray:
    """MinHash: (number of sets, hashes), the smallest value of each of `hashes` random functions over each set.

    The functions are (a x + b) mod p with random a and b and the prime p = 2**31 - 1; an empty set has p everywhere.
    Source: Carter and Wegman 1979 for the functions.
    """
    rng = np.random.default_rng(seed)
    a = rng.integers(1, MERSENNE, hashes, dtype=np.uint64)
    b = rng.integers(0, MERSENNE, hashes, dtype=np.uint64)
    result = np.full((len(sets), hashes), MERSENNE, dtype=np.uint32)
    sizes = np.array([len(one) for one in sets], dtype=np.int64)
    filled = np.flatnonzero(sizes)
    cuts = 1 + np.flatnonzero(np.diff(sizes[filled].cumsum() // 512))  # so that the work on a chunk stays in the cache
    for chunk in np.split(filled, cuts) if len(filled) else ():
        x = np.concatenate([sets[index] for index in chunk])
        begin = np.cumsum([0, *sizes[chunk[:-1]]])
        y = x * a[:, None] + b[:, None]  # (hashes, shingles), below 2**62
        y = (y & np.uint64(MERSENNE)) + (y >> np.uint64(31))  # 2**31 = 1 (mod p), so the high bits count once
        y = (y & np.uint64(MERSENNE)) + (y >> np.uint64(31))  # that may have carried
        result[chunk] = np.minimum.reduceat(y, begin, axis=1).T
    return result


def estimated_jaccard(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The share of equal numbers in two signatures (..., hashes), J on average; deviation sqrt(J (1 - J) / hashes)."""
    return (a == b).mean(axis=-1)


def collision_probability(jaccard: float | np.ndarray, bands: int, rows: int) -> float | np.ndarray:
    """The S-curve 1 - (1 - J**rows)**bands: how likely documents of this similarity agree on some band.

    It climbs steepest near (1 / bands) ** (1 / rows).
    Source: Mining of Massive Datasets, section 3.4.2.

    >>> [round(collision_probability(j, bands=20, rows=5), 3) for j in (0.2, 0.5, 0.8)]
    [0.006, 0.47, 1.0]
    """
    return 1 - (1 - jaccard**rows) ** bands


def bands_and_rows(threshold: float, hashes: int = 128, recall: float = 0.95) -> tuple[int, int]:
    """The most rows (so the fewest needless comparisons) with which a pair *at* the threshold is still compared with
    probability `recall`; more similar pairs are likelier.

    >>> bands_and_rows(0.8)
    (18, 7)
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"the similarity threshold is {threshold}; choose one above 0 and at most 1, such as 0.8")
    good = [rows for rows in range(1, hashes + 1) if collision_probability(threshold, hashes // rows, rows) >= recall]
    rows = max(good, default=1)
    return hashes // rows, rows


def candidate_pairs(signatures: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """Pairs (P, 2), i < j, that agree on all rows of some band.

    Of a bucket with many documents each is paired with the first and with the one before it, not with all: at most
    2 * bands pairs for each document, however alike they are.
    """
    pairs = []
    for band in range(bands):
        key = np.zeros(len(signatures), dtype=np.uint64)
        for row in range(band * rows, (band + 1) * rows):
            key = mix(key + signatures[:, row])
        order = np.argsort(key, kind="stable")  # a bucket is a run of equal keys, in the order of the documents
        is_first = np.r_[True, key[order][1:] != key[order][:-1]]
        first = order[np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))]
        second = np.flatnonzero(~is_first)
        pairs += [np.c_[order[second - 1], order[second]], np.c_[first[second], order[second]]]
    return np.unique(np.concatenate(pairs), axis=0)


def near_duplicates(
    documents: Sequence[str], threshold: float = 0.8, width: int = 5, hashes: int = 128, seed: int = 0
) -> list[int]:
    """For each document, the index of the first one of its cluster: its own, when there is none like it before.

    Clusters are chains: neighbours are similar, ends need not be. Documents without any word are like nothing.

    >>> near_duplicates(["one two three four five six", "a b c d e f", "One, two, three, four, five, six!"])
    [0, 1, 0]
    """
    bands, rows = bands_and_rows(threshold, hashes)
    sets = shingles(documents, width)
    filled = np.flatnonzero([len(one) for one in sets])
    signed = signatures([sets[index] for index in filled], hashes, seed)
    pairs = candidate_pairs(signed, bands, rows)
    slack = 4 * (threshold * (1 - threshold) / hashes) ** 0.5  # four standard deviations of the estimate
    blocks = np.array_split(pairs, len(pairs) // 10_000 + 1)
    likely = [estimated_jaccard(*signed[block].swapaxes(0, 1)) >= threshold - slack for block in blocks]
    parent = list(range(len(documents)))
    for i, j in filled[pairs[np.concatenate(likely)]].tolist():
        i_root, j_root = _root(parent, i), _root(parent, j)
        if i_root != j_root and jaccard(sets[i], sets[j]) >= threshold:
            parent[max(i_root, j_root)] = min(i_root, j_root)
    return [_root(parent, index) for index in range(len(documents))]


def _root(parent: list[int], index: int) -> int:
    """Union-find: the smallest index of a cluster, shortening the way to it."""
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index
