"""Byte-pair encoding by a list of merges, exactly as Hugging Face's library does it; and when tiktoken may do it.

There, the pair that stands first in the list is merged, of equal pairs the leftmost. tiktoken merges the pair whose
joined bytes have the lowest rank, whatever its halves: the same, if each token can come into being in one way alone.
`ranks_for_tiktoken` proves it for a list, or does not.
"""

import heapq
import re
from collections.abc import Callable
from itertools import pairwise

from minillm.text.gpt2_files import BYTE_OF

SPACE = "▁"
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
SHORT = 64  # characters of a word that is not worth being cut


class Merges:
    """The model BPE of tokenizer.json: words to ids. `ranks` maps a pair of ids to its place in the list and its token.

    A character that has no token becomes those of its bytes with `byte_fallback`, else `unk_token`, else nothing.
    """

    def __init__(self, model: dict) -> None:
        self.vocab: dict[str, int] = model["vocab"]
        for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
            if model.get(name):
                raise ValueError(f"model: {name} is {model[name]!r}, which is not known")
        self.whole_words = bool(model.get("ignore_merges"))
        self.fuse, self.unknown = bool(model.get("fuse_unk")), model.get("unk_token")
        if self.unknown is not None and self.unknown not in self.vocab:
            raise ValueError(f"model: unk_token is {self.unknown!r}, which is not in the vocabulary")
        names = BYTE_TOKENS if model.get("byte_fallback") else []
        self.byte_ids = [self.vocab.get(name) for name in names]
        self.merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
        try:
            ids = [(self.vocab[a], self.vocab[b], self.vocab[a + b]) for a, b in self.merges]
        except (KeyError, ValueError) as error:
            raise ValueError(f"model: a merge is not of two tokens that make a third ({error})") from None
        self.ranks = {(a, b): (place, c) for place, (a, b, c) in enumerate(ids)}
        self._cuts = self._cutter()

    def ids(self, word: str) -> list[int]:
        """The ids of a word, which may be a whole text."""
        if self.whole_words and word in self.vocab:
            return [self.vocab[word]]
        if len(word) <= SHORT or self._cuts is None:
            return self._merged(self._characters(word))
        return [i for piece in self._cuts.findall(word) for i in self._merged(self._characters(piece))]

    def pieces(self, word: str) -> list[str]:
        """A word in pieces that no merge can join, for a cache of their ids."""
        if self._cuts is None or (self.whole_words and word in self.vocab):
            return [word]
        return self._cuts.findall(word)

    def _cutter(self) -> re.Pattern | None:
        """Cuts before each space that follows something else, where no merge joins the two; None where one may."""
        parts = {part for merge in self.merges for part in merge}
        unsure = self.unknown is not None and self.fuse and (not self.byte_ids or None in self.byte_ids)
        joined = any(re.search(f"[^{SPACE}]{SPACE}", a + b) for a, b in self.merges)
        if SPACE not in parts or unsure or joined or not parts.isdisjoint(BYTE_TOKENS):
            return None
        return re.compile(f"{SPACE}*[^{SPACE}]+|{SPACE}+")

    def _characters(self, word: str) -> list[int]:
        """The ids that merging begins with. One for the unknown waits for the next known character, bytes pass it."""
        ids, waiting = [], 0
        for character in word:
            known = self.vocab.get(character)
            if known is not None:
                ids += [self.vocab[self.unknown]] * waiting + [known] if waiting else [known]
                waiting = 0
                continue
            of_bytes = [self.byte_ids[byte] for byte in character.encode()] if self.byte_ids else [None]
            if None not in of_bytes:
                ids += of_bytes
            elif self.unknown is not None:
                waiting = 1 if self.fuse else waiting + 1
        return ids + [self.vocab[self.unknown]] * waiting if waiting else ids

    def _merged(self, ids: list[int]) -> list[int]:
        """Merge pairs, the first of the list first, until none is left."""
        get = self.ranks.get
        queue = [(*found, at) for at, pair in enumerate(pairwise(ids)) if (found := get(pair))]
        if not queue:
            return ids
        queue = [(rank, at, token) for rank, token, at in queue]
        heapq.heapify(queue)
        before, after = list(range(-1, len(ids) - 1)), [*range(1, len(ids)), -1]
        while queue:
            _, at, token = heapq.heappop(queue)
            right = after[at]
            if ids[at] < 0 or right < 0 or get((ids[at], ids[right]), (0, -1))[1] != token:
                continue  # one of the two has been merged since
            ids[at], ids[right], after[at] = token, -1, after[right]
            if after[at] >= 0:
                before[after[at]] = at
                if found := get((token, ids[after[at]])):
                    heapq.heappush(queue, (found[0], at, found[1]))
            if before[at] >= 0 and (found := get((ids[before[at]], token))):
                heapq.heappush(queue, (found[0], before[at], found[1]))
        return [i for i in ids if i >= 0]


def ranks_for_tiktoken(model: Merges, is_word: Callable[[str], bool]) -> tuple[dict[bytes, int], dict] | None:
    """Ranks by which tiktoken makes the same of every word as `model` does, and the id of each; None if it may not.

    It does if each token that merges make is reached, from its bytes, through one pair alone, which is in the list, and
    these pairs stand in the list in the order of the ranks. Two tokens side by side that make a third are then always
    that pair: what was merged between the ends of the third did not depend on what stands beyond them.
    A byte that has no token has a rank too, above all others, and no id.

    Args: is_word: whether a text may be a word of what is cut.
    """
    singles = {model.vocab[c]: bytes([byte]) for c, byte in BYTE_OF.items() if c in model.vocab}
    ways: dict[int, list[tuple[int, int]]] = {}
    for pair, (_, token) in sorted(model.ranks.items(), key=lambda item: item[1][0]):
        if token in singles or (token in ways and next(reversed(ways)) != token):
            return None  # the ways to make it do not stand together
        ways.setdefault(token, []).append(pair)
    texts, halves, place = dict(singles), {}, dict.fromkeys(singles, -1)
    for number, (token, pairs) in enumerate(ways.items()):
        pairs = [pair for pair in pairs if pair[0] in place and pair[1] in place]
        reached = [pair for pair in pairs if _reached(*pair, number, place, halves, model.ranks)]
        if len(reached) != 1:
            return None
        place[token], halves[token] = number, reached[0]
        texts[token] = texts[reached[0][0]] + texts[reached[0][1]]
    never_made = [name for name, i in model.vocab.items() if i not in place and len(name) > 1]
    alone = model.whole_words and any(map(is_word, never_made))  # words that are tokens, and are not merged
    if alone or len(set(texts.values())) < len(texts):
        return None
    rising = all(a < b for a, b in pairwise(ways))  # then ids are ranks, and nothing need be looked up
    ranks = {text: i if rising else place[i] + 256 for i, text in texts.items()}
    if not rising:
        ranks |= {text: text[0] for text in singles.values()}
    top = max(ranks.values(), default=0) + 1
    found = {} if rising else {ranks[text]: i for i, text in texts.items()}
    return {bytes([byte]): top + byte for byte in range(256)} | ranks, found


def _reached(left: int, right: int, limit: int, place: dict, halves: dict, ranks: dict) -> bool:
    """Whether the bytes of two tokens, side by side, become these two before any pair of place `limit` is merged.

    Merges are undone, the latest first; a pair across the border that would have come before each must not be.
    """
    while True:
        across = ranks.get((left, right))
        if across and place.get(across[1], limit) < limit:
            return False
        for side in (0, 1) if place[left] > place[right] else (1, 0):
            if side == 0 and left in halves:  # of two pairs of one place, the one on the left comes first
                limit, left = place[left], halves[left][1]
                break
            if side == 1 and right in halves:
                limit, right = place[right] + 1, halves[right][0]
                break
        else:
            return True
