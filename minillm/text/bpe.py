"""Train byte-level BPE: start with the 256 bytes, and again and again make the most frequent pair one token.

    low lower lowest       l o w | l o w e r | l o w e s t      three words, each with its count
    most frequent: l o     lo w  | lo w e r  | lo w e s t       token 256 = "lo"
    most frequent: lo w    low   | low e r   | low e s t        token 257 = "low"
    most frequent: low e   low   | lowe r    | lowe s t         token 258 = "lowe"

Text is first split into words by a pattern, and a merge never crosses the border of a word or of a document. A word
counts as often as it occurs, so the work depends on how many *different* words there are. After a merge, only the pairs
beside the merged ones have changed: their counts are corrected, nothing is counted anew.

`plain_bpe` does the same in plain loops: read it first. Encoding is tiktoken's, with the ranks made here: in each word
the pair whose joined bytes have the lowest rank is merged, until no pair has one. `tokenizer` adds special tokens.
Papers: Gage 1994, "A new algorithm for data compression"; Sennrich et al. 2016, arXiv:1508.07909; bytes as in GPT-2.
"""

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise

import tiktoken

# GPT-2's: English contractions; a run of letters, of digits or of anything else, with the space before it; white space,
# of which `\s+(?!\S)` leaves the last to the word that follows.
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

BYTES = {bytes([b]): b for b in range(256)}
# The order in which pairs of equal count are taken: bytes that GPT-2 prints as themselves, then all other bytes.
BYTE_ORDER = sorted(range(256), key=lambda b: (not chr(b).isprintable() or chr(b) == " ", b))


def train_bpe(text: str | Iterable[str], vocab_size: int, pattern: str = GPT2_PATTERN) -> dict[bytes, int]:
    """Learn merges from `text`, one document or many, and return the rank (= id) of every token.

    The result is what `tiktoken.Encoding(mergeable_ranks=...)` takes: the byte b has rank b, then come the merged
    tokens, oldest first. There are fewer than `vocab_size` when the text runs out of pairs to merge. Of the pairs with
    the highest count, the one whose left token, then right token, is first in BYTE_ORDER, then by age, is merged, as
    Hugging Face's BpeTrainer does: the two learn the same merges.

    Args:
        pattern: cuts the text into words; it may use what tiktoken and Python's `re` share, and \\p{...} classes.
    Raises: ValueError for fewer than the 256 bytes, for capturing groups in the pattern, for half a surrogate pair.

    >>> ranks = train_bpe("low lower lowest", 259)
    >>> [token for token, rank in ranks.items() if rank >= 256]
    [b'lo', b'low', b' low']
    """
    if vocab_size < len(BYTES):
        raise ValueError(f"vocab_size is {vocab_size}, but every byte needs a token: make it 256 or more.")
    counts, splitter = Counter(), Splitter(pattern)
    for document in [text] if isinstance(text, str) else text:
        counts.update(splitter.split(document))
    ranks = dict(BYTES)
    for token in _merges(counts, vocab_size):
        ranks[token] = len(ranks)
    return ranks


def _merges(word_counts: dict[str, int], vocab_size: int) -> Iterator[bytes]:
    """Yield new tokens until there are `vocab_size` or nothing is left to merge.

    A token is written as one character, so that a word is a string and a merge is `str.replace`: the characters are not
    those of the text, but chr(0), chr(1) ... in the order that breaks ties. A pair is a string of two.
    """
    token_of = [bytes([b]) for b in BYTE_ORDER]
    to_symbols = bytes(BYTE_ORDER.index(b) for b in range(256))
    words = [word.encode().translate(to_symbols).decode("latin-1") for word in word_counts]
    occurrences = list(word_counts.values())
    pair_counts, words_with = _count_pairs(words, occurrences)
    # Counts in the heap may be out of date, but only too high: a pair is corrected when it comes to the top.
    heap = [(-count, pair) for pair, count in pair_counts.items()]
    heapq.heapify(heap)

    while heap and len(token_of) < vocab_size:
        count, pair = heapq.heappop(heap)
        if pair_counts[pair] != -count:
            if pair_counts[pair] > 0:
                heapq.heappush(heap, (-pair_counts[pair], pair))
            continue
        # Always a new token: merges were made everywhere and from the left, so equal bytes have equal parts everywhere.
        symbol = chr(len(token_of))
        token_of.append(token_of[ord(pair[0])] + token_of[ord(pair[1])])
        yield token_of[-1]
        changed = set()
        for i in words_with.pop(pair):
            words[i], lost, gained = _merge_word(words[i], pair, symbol)
            for old in lost:
                pair_counts[old] -= occurrences[i]
            for new in gained:
                pair_counts[new] += occurrences[i]
                words_with[new].add(i)
            changed.update(gained)
        del pair_counts[pair]
        for new in changed:
            heapq.heappush(heap, (-pair_counts[new], new))


def _count_pairs(words: list[str], occurrences: list[int]) -> tuple[dict[str, int], dict[str, set[int]]]:
    """How often each pair occurs, and which words hold it (later also words that have lost it since)."""
    pair_counts, words_with = defaultdict(int), defaultdict(set)
    for i, word in enumerate(words):
        for left, right in pairwise(word):
            pair_counts[left + right] += occurrences[i]
            words_with[left + right].add(i)
    return pair_counts, words_with


def _merge_word(word: str, pair: str, symbol: str) -> tuple[str, list[str], list[str]]:
    """Replace `pair` by `symbol`; return the new word, and the neighbouring pairs that it lost and gained."""
    parts = word.split(pair)
    lost, gained = [], []
    for place, (before, after) in enumerate(pairwise(parts)):
        if before:
            lost.append(before[-1] + pair[0])
            gained.append(before[-1] + symbol)
        elif place > 0:  # two of the pairs stood side by side
            lost.append(pair[1] + pair[0])
            gained.append(symbol + symbol)
        if after:
            lost.append(pair[1] + after[0])
            gained.append(symbol + after[0])
    return symbol.join(parts), lost, gained


def check_surrogates(text: str) -> None:
    """Raise ValueError where text has half of a surrogate pair, which is no character and has no UTF-8 bytes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"Character {error.start} of the text is half of a surrogate pair (U+{ord(text[error.start]):04X}), so the "
            "text was not decoded properly. Read it with the right encoding."
        ) from None


class Splitter:
    """Splits text into words with a tiktoken pattern, exactly as tiktoken does, by Python's `re`.

    `re` has no \\p{L}, and its \\s is not Unicode's White_Space. So each class in the pattern is written out as the
    ranges of its members, and tiktoken is asked which characters those are: no table can disagree.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def split(self, document: str) -> list[str]:
        """The words of a document; joined they are the document."""
        check_surrogates(document)
        return fitting(self.pattern, document).findall(document)


def fitting(pattern: str, text: str) -> re.Pattern:
    """A tiktoken pattern for `re`, right for a text."""
    highest = 0x7F if text.isascii() else ord(max(text))
    # Most text needs no more than the first plane, in which looking a character up is fastest.
    return compiled_for(pattern, next(end for end in (0x80, 0x10000, 0x110000) if highest < end))


@cache
def compiled_for(pattern: str, end: int) -> re.Pattern:
    """A tiktoken pattern for `re`, right for the characters below `end`: its classes are written out.

    Raises: ValueError for a capturing group.
    """
    pieces, in_brackets = [], False
    for piece in re.findall(r"\\[pP]\{[^}]*\}|\\.|.", pattern, flags=re.DOTALL):
        if piece in ("[", "]"):
            in_brackets = piece == "["
        elif piece[0] == "\\" and piece[1] in "pPsSdDwW":
            plain = f"\\{piece[1].lower()}{piece[2:]}"  # an opposite as "none of": it would have a million members
            negation = "^" if piece[1].isupper() else ""
            piece = class_ranges(piece, end) if in_brackets else f"[{negation}{class_ranges(plain, end)}]"
        pieces.append(piece)
    compiled = re.compile("".join(pieces))
    if compiled.groups:
        raise ValueError(f"The pattern {pattern!r} has a capturing group: write (?:...) instead of (...).")
    return compiled


@cache
def class_ranges(piece: str, end: int) -> str:
    r"""The characters below `end` in a class of tiktoken, such as \p{..}, \s or an opposite, as ranges for `re`."""
    characters = "".join(chr(i) for i in range(end) if not 0xD800 <= i < 0xE000)
    matching = tiktoken.Encoding("class", pat_str=piece, mergeable_ranks=BYTES, special_tokens={})
    numbers = [*map(ord, bytes(matching.encode_ordinary(characters)).decode())]  # what does not match is dropped
    begins = [n for n, before in zip(numbers, [-2, *numbers]) if n != before + 1]
    ends = [n for n, after in zip(numbers, [*numbers[1:], -2]) if n + 1 != after]
    # Half a surrogate never occurs in the text: with it, a class is never empty, which `re` would not allow.
    return r"\ud800" + "".join(f"\\U{begin:08x}-\\U{end:08x}" for begin, end in zip(begins, ends))
