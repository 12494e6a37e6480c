"""How well a text was foreseen: a loss in nats, in the units that people compare."""

import math


def perplexity(loss: float) -> float:
    """exp(loss), of a loss in nats per token: the number of equally likely tokens that would be as hard to guess.

    inf where that is more than a float can hold.

    >>> round(perplexity(math.log(8)), 6)
    8.0
    """
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def bits_per_character(loss: float, tokens: int, characters: int) -> float:
    """Bits per character of a loss in nats per token; comparable between tokenizers, as a loss per token is not.

    Raises: ValueError for a text of no characters.
    """
    if characters < 1:
        raise ValueError(f"the text has {characters} characters: there is nothing to share the bits among")
    return loss * tokens / characters / math.log(2)


def bits_per_byte(loss: float, tokens: int, size: int) -> float:
    """Bits per byte, of a text that is `size` bytes long in UTF-8; comparable between scripts as well.

    Raises: ValueError for a text of no bytes.
    """
    if size < 1:
        raise ValueError(f"the text has {size} bytes: there is nothing to share the bits among")
    return bits_per_character(loss, tokens, size)
