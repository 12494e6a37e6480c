"""Documents that came before, in a stream without end: 8 bytes are kept of each, and never its text.

Exact copies have one key, the digest of the text without case, white space and the way an accent is coded. Near copies
share one of several keys, bands of a MinHash signature (see `dedup`): what shares a band is taken for a copy, without a
second look at the texts, which are gone. With 14 bands of 8 that is so of a pair of documents of similarity 0.8 with a
probability of 0.92, of 0.7 with 0.57, of 0.5 with 0.05.
Source: Penedo et al. 2024, arXiv:2406.17557, section 3.4, for the bands.
"""

from collections.abc import Sequence

import numpy as np

from minillm.text.dedup import MERSENNE, mix, normalised_digest, shingles, signatures

BANDS, ROWS = 14, 8


def exact_keys(documents: Sequence[str]) -> np.ndarray:
    """A 64-bit number of each document (N, 1), equal for copies; of 100 million others two agree in 1 of 3,000 runs.

    >>> keys = exact_keys(["a tale", "A  tale", "a song"])
    >>> bool(keys[0] == keys[1]), bool(keys[0] == keys[2])
    (True, False)
    """
    digests = b"".join(normalised_digest(document)[:8] for document in documents)
    return np.frombuffer(digests, "<u8").astype(np.uint64).reshape(-1, 1)


def near_keys(documents: Sequence[str], bands: int = BANDS, rows: int = ROWS, seed: int = 0) -> np.ndarray:
    """Numbers of each document (N, 1 + bands), of which near copies share some: `exact_keys`, and a number a band."""
    signed = signatures(shingles(documents), bands * rows, seed).reshape(len(documents), bands, rows)
    keys = np.broadcast_to(np.arange(bands, dtype=np.uint64), signed.shape[:2])
    for row in range(rows):
        keys = mix(keys + signed[:, :, row])
    exact, wordless = exact_keys(documents), (signed == MERSENNE).all((1, 2))
    return np.hstack([exact, np.where(wordless[:, None], exact, keys)])


class Seen:
    """Keys that came before, in sorted runs of which each is more than twice as long as the next."""

    def __init__(self) -> None:
        self.runs: list[np.ndarray] = []

    def __len__(self) -> int:
        return sum(map(len, self.runs))

    def add(self, keys: np.ndarray) -> np.ndarray:
        """Whether each document (N, K) is new: none of its keys came before, nor in a document above it. All are kept.

        >>> seen = Seen()
        >>> seen.add(np.array([[7], [8], [7]], np.uint64)).tolist(), seen.add(np.array([[8], [9]], np.uint64)).tolist()
        ([True, True, False], [False, True])
        """
        flat = keys.reshape(-1)
        own, first = np.unique(flat, return_index=True)
        known = np.zeros(len(own), bool)
        for run in self.runs:
            place = np.searchsorted(run, own)
            known |= run[np.minimum(place, len(run) - 1)] == own
        here = np.searchsorted(own, flat)
        width = keys.shape[1] if keys.size else 1
        repeated = known[here] | (first[here] // width < np.arange(len(flat)) // width)
        self.keep(own[~known])
        return ~repeated.reshape(keys.shape).any(1)

    def keep(self, keys: np.ndarray) -> None:
        """Take sorted keys, none of which came before."""
        if len(keys):
            self.runs.append(keys)
        while len(self.runs) > 1 and 2 * len(self.runs[-1]) >= len(self.runs[-2]):
            last = self.runs.pop()
            self.runs[-1] = np.sort(np.concatenate([self.runs[-1], last]), kind="stable")
