"""The world's exact distribution of the next token: the perfect teacher of a language model, position by position.

A program of the world chooses among texts, a model among tokens, and a token may end within a text or run over into the
next choice. So every way on from a prefix is followed until it fixes the next token, which is where the next word ends,
and encoded; each token's probability is the sum over the ways that begin with it. Multiplied along a document they give
`logprob` again, exactly.

    world = NextToken(tokenizer)
    world.after(tokenizer.encode("Once there was a"))      {id: probability}, {} where no document begins so
    list(world.along(ids))                                 the same at every position of a document, its end included

Left out: letters and answers, whose authors make choices that do not show in the text.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

from torch import Tensor

from minillm.tales.documents import MIX, PROGRAMS
from minillm.tales.teller import END, Teller
from minillm.text import GPT2_PATTERN, Tokenizer, fitting


class _Enough(Exception):
    """A way on is long enough, or no way at all."""


class _Ahead(Teller):
    """Reads `prefix`, takes the choices of `script`, and stops at the first choice behind them: `open` are its ways."""

    def __init__(self, prefix: str, script: tuple[int, ...], enough: Callable[[str], bool]):
        super().__init__()
        self.prefix, self.script, self.enough = prefix, list(script), enough
        self.text, self.weight, self.taken = "", 0.0, []  # weight: log-probability of all choices so far
        self.found: list[tuple[str, float]] = []  # ways that are long enough
        self.open: list[tuple[int, ...]] = []  # scripts of those that are not

    def say(self, text):
        self.text += text
        self.offset += len(text)
        at = self.offset - len(text)
        if at < len(self.prefix):
            rest = self.prefix[at : self.offset]
            if not text.startswith(rest):
                raise _Enough
        if self.offset > len(self.prefix) and self.enough(self.text):
            self.found.append((self.text, self.weight))
            raise _Enough

    def choose(self, options, wrong=None, why=None):
        index = self._index(options)
        if len(options.texts) > 1:
            self.weight += math.log(options.weight(index) / options.total)
        self.say(options.texts[index])
        return options.values[index]

    def _index(self, options) -> int:
        """The option to take: what the prefix shows, what the script says, or the last of those that are left open."""
        if len(options.texts) == 1:
            return 0
        rest = self.prefix[self.offset :]
        if rest and (index := options.match(self.prefix, self.offset)) is not None:
            return index
        if len(self.taken) < len(self.script):
            index = self.script[len(self.taken)]
        else:
            index = self._spread(options, rest)
        self.taken.append(index)
        return index

    def _spread(self, options, rest: str) -> int:
        """Note every option that goes on from the prefix; return one that is not long enough, to go on with."""
        unfinished = []
        for index, text in enumerate(options.texts):
            if text.startswith(rest):
                longer = self.text + text
                if len(text) > len(rest) and self.enough(longer):
                    self.found.append((longer, self.weight + math.log(options.weight(index) / options.total)))
                else:
                    unfinished.append(index)
        if not unfinished:
            raise _Enough
        *others, last = unfinished
        self.open += [(*self.taken, index) for index in others]
        return last


def ways_on(program: Callable, prefix: str, enough: Callable[[str], bool]) -> list[tuple[str, float]]:
    """Every way on from a prefix of a program's texts, as far as `enough(text)` wants it, with its log-probability.

    Args: enough: of a text that is longer than the prefix; a whole document ends with END, and is always enough.
    """
    found, scripts = [], [()]
    while scripts:
        teller = _Ahead(prefix, scripts.pop(), enough)
        with suppress(_Enough):
            program(teller)
            teller.say(END)
        found += teller.found
        scripts += teller.open
    return found


class NextToken:
    """The exact distribution of the next token in documents of the world, for one tokenizer.

    Args: kinds: which documents there are, by weight: the mix for pre-training, or {"clinic": 1}.
    """

    def __init__(self, tokenizer: Tokenizer, kinds: Mapping[str, int] = MIX):
        self.tokenizer, self.kinds = tokenizer, dict(kinds)
        self._ways: tuple[str, list[tuple[str, float]]] | None = None  # a prefix, and all ways on from it

    def after(self, ids: Sequence[int]) -> dict[int, float]:
        """{id: probability} behind the tokens of a document, without <|bos|>; {} where no document begins so.

        The end of a document is the tokenizer's `eos_id`. The probabilities sum to 1, the likeliest first.
        """
        ids, end = list(ids), self.tokenizer.eos_id
        if end in ids:
            return {}
        chances: dict[int, float] = defaultdict(float)
        for text, weight in self._ways_on(self.tokenizer.decode(ids)):
            found = self.tokenizer.encode(text.removesuffix(END)) + [end] * text.endswith(END)
            if found[: len(ids)] == ids and len(found) > len(ids):
                chances[found[len(ids)]] += math.exp(weight)
        total = math.fsum(chances.values())
        return {i: p / total for i, p in sorted(chances.items(), key=lambda item: -item[1])}

    def along(self, ids: Sequence[int]) -> Iterator[dict[int, float]]:
        """The distribution before each of these tokens; {} from the first on that the world cannot have written."""
        possible = True
        for place, token in enumerate(ids):
            chances = self.after(ids[:place]) if possible else {}
            yield chances
            possible = token in chances

    def _ways_on(self, prefix: str) -> list[tuple[str, float]]:
        """Ways on from a prefix; those of a shorter prefix, as long as they reach."""

        def enough(text: str) -> bool:
            return self._fixes_next(text, len(prefix))

        if self._ways is not None and prefix.startswith(self._ways[0]):
            left = [way for way in self._ways[1] if way[0].startswith(prefix)]
            if left and all(len(text) > len(prefix) and enough(text) for text, _ in left):
                return left
        ways, total = [], math.log(sum(self.kinds.values()))
        for kind, share in self.kinds.items():
            more = math.log(share) - total
            ways += [(text, weight + more) for text, weight in ways_on(PROGRAMS[kind], prefix, enough)]
        self._ways = prefix, ways
        return ways

    def _fixes_next(self, text: str, at: int) -> bool:
        """Whether a text goes on far enough for its token behind the character `at` to be certain."""
        if text.endswith(END) or self.tokenizer.kind == "characters":
            return True
        start = max(text.rfind(" ", 0, max(at - 1, 0)), 0)  # where a word begins, in every usual pattern
        ends = (match.end() for match in fitting(GPT2_PATTERN, text).finditer(text, start))
        return next((end for end in ends if end > at), len(text)) < len(text)


def divergence(world: Mapping[int, float], logprobs: Tensor) -> float:
    """KL(world || model) in nats at one position: what a model loses there on average against one that knows all.

    Args: logprobs: (V,) the model's log-probabilities.
    """
    return math.fsum(p * (math.log(p) - q) for p, q in zip(world.values(), logprobs[list(world)].tolist()))


def entropy(world: Mapping[int, float]) -> float:
    """The entropy of a distribution in nats: the floor at one position."""
    return math.fsum(p * -math.log(p) for p in world.values())
