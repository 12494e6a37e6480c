"""pass@k: how likely one of k samples is right, estimated without bias from more of them."""

import math
from collections.abc import Sequence


def pass_at_k(right: Sequence[int], samples: int, k: int) -> float:
    """The mean over problems of 1 - C(n - c, k) / C(n, k), for c right ones of n samples.

    That is the share of all choices of k among the n samples in which one is right at least. (1 - (1 - c / n)^k, with
    the same c / n, is too small: it draws the same sample twice.)

    Args: right: how many samples of each problem are right; samples: n, of each; k: from 1 to n.
    Raises: ValueError for no problem, a k that is more than n, and counts beyond n.
    Source: Chen et al. 2021, "Evaluating large language models trained on code", equation 1.

    >>> pass_at_k([1, 0], samples=4, k=2)   # (3 of 6 pairs hold the one that is right + 0) / 2
    0.25
    """
    if not 1 <= k <= samples:
        raise ValueError(f"k is {k}: of {samples} samples it must be 1 to {samples}")
    if not len(right) or not all(0 <= count <= samples for count in right):
        raise ValueError(f"of {samples} samples of each problem, {list(right)[:5]} are right: that cannot be")
    return sum(1 - math.comb(samples - int(c), k) / math.comb(samples, k) for c in right) / len(right)
