"""Batches for scoring: texts of about one length together, so that little is padded, and the longest ones last."""

from torch import Tensor

from minillm.data.batches import Padded


class ByLength(Padded):
    """`Padded` without a seed, in the order of the lengths: what is said of a text does not depend on its neighbours.

    `order(0)` says which example stands where, `spread` takes examples of all lengths.
    """

    def order(self, epoch: int) -> Tensor:
        """The examples from the shortest to the longest."""
        return self.lengths.argsort(stable=True)
