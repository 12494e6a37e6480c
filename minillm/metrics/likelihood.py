"""How well a text was foreseen: a loss in nats, in the units that people compare."""

import math


def perplexity(loss: float) -> float:
    """exp(loss), of a loss in nats per token: the number of equally likely tokens that would be as hard to guess.

    >>> round(perplexity(math.log(8)), 6)
    8.0
    """
    return math.exp(loss)


def bits_per_character(loss: float, tokens: int, characters: int) -> float:
    """Bits per character of a loss in nats per token; comparable between tokenizers, as a loss per token is not."""
    return loss * tokens / characters / math.log(2)


def bits_per_byte(loss: float, tokens: int, size: int) -> float:
    """Bits per byte, of a text that is `size` bytes long in UTF-8; comparable between scripts as well."""
    return bits_per_character(loss, tokens, size)
