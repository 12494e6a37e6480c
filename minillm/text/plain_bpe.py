"""Byte-pair encoding as one writes it on a blackboard: count all pairs, merge the most frequent, again.

`bpe` learns the same merges and tiktoken gives the same ids, both much faster: here every pair of every word is counted
anew for each merge, and every pair of a word is looked at for each step of encoding. A test holds them equal.
Left out: speed, special tokens, decoding (join the bytes of the ids). Papers: as in `bpe`.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from minillm.text.bpe import BYTE_ORDER, BYTES, GPT2_PATTERN, Splitter


def train_plain(text: str | Iterable[str], vocab_size: int, pattern: str = GPT2_PATTERN) -> dict[bytes, int]:
    """Learn merges from one document or many, with the arguments and the result of `train_bpe`.

    Source: Sennrich et al. 2016, algorithm 1.

    >>> list(train_plain("low lower lowest", 259))[256:]
    [b'lo', b'low', b' low']
    """
    splitter = Splitter(pattern)
    documents = [text] if isinstance(text, str) else text
    times = Counter(word for document in documents for word in splitter.split(document))
    words = {word: [bytes([b]) for b in word.encode()] for word in times}
    ranks = dict(BYTES)

    def place(token: bytes) -> int:  # of two pairs of one count, the pair whose tokens come first here is merged
        return BYTE_ORDER.index(token[0]) if len(token) == 1 else ranks[token]

    while len(ranks) < vocab_size:
        counts = Counter()
        for word, parts in words.items():
            for pair in pairwise(parts):
                counts[pair] += times[word]
        if not counts:
            break
        left, right = min(counts, key=lambda pair: (-counts[pair], place(pair[0]), place(pair[1])))
        ranks[left + right] = len(ranks)
        words = {word: merge_pair(parts, left, right) for word, parts in words.items()}
    return ranks


def merge_pair(parts: list[bytes], left: bytes, right: bytes) -> list[bytes]:
    """Make one token of every `left` that `right` follows.

    >>> merge_pair([b"a", b"a", b"a", b"b"], b"a", b"a")
    [b'aa', b'a', b'b']
    """
    merged = []
    for part in parts:
        if part == right and merged[-1:] == [left]:
            merged[-1] = left + right
        else:
            merged.append(part)
    return merged


def encode_plain(text: str, ranks: dict[bytes, int], pattern: str = GPT2_PATTERN) -> list[int]:
    """The ids of a text: in each word, the pair that makes the token of lowest rank is merged, until none makes one.

    >>> encode_plain("lower", train_plain("low lower lowest", 259))   # low, e, r
    [257, 101, 114]
    """
    ids = []
    for word in Splitter(pattern).split(text):
        parts = [bytes([b]) for b in word.encode()]
        while found := [(ranks[a + b], at) for at, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]:
            at = min(found)[1]
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        ids += [ranks[part] for part in parts]
    return ids
