"""How well a text was foreseen: a loss in nats, in the units that people compare."""

import math


def perplexity(loss: float) -> float:
    """exp(loss) of nats per token: the number of equally likely tokens as hard to guess; inf where no float holds it.

    >>> round(perplexity(math.log(8)), 6)
    8.0
    """
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def bits_per_character(loss: float, tokens: int, characters: int) -> float:
    """Bits per character of a loss in nats per token, comparable between tokenizers; ValueError for no characters."""
    if characters < 1:
        raise ValueError(f"the text has {characters} characters: there is nothing to share the bits among")
    return loss * tokens / characters / math.log(2)


def bits_per_byte(loss: float, tokens: int, size: int) -> float:
    """Bits per byte of a text of `size` bytes in UTF-8, comparable between scripts as well; ValueError for no bytes."""
    if size < 1:
        raise ValueError(f"the text has {size} bytes: there is nothing to share the bits among")
    return bits_per_character(loss, tokens, size)
