"""Several sources of batches in one stream: learning tasks together, or a new one with some of the old (rehearsal).

Rehearsal is the plainest remedy against forgetting: keep, or write anew, some of what was learned before, and go on
learning it (Robins 1995, "Catastrophic forgetting, rehearsal and pseudorehearsal"). Each batch comes from one source,
drawn by weight, so sources may have batches of different shapes; a step of several micro-batches holds a mixture.
Left out: temperatures, and weights that change during a run.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from minillm.data.batches import Batches
from minillm.system import check_seed


class Mixed:
    """Batches for `fit`, each from one of several sources, drawn by weight in an order that the seed alone decides.

    Args:
        weights: shares of the stream, in any unit; None: by the number of batches in each source, so that every example
            comes about equally often.
    Raises: ValueError for weights that are none.
    Source: Raffel et al. 2020, section 3.5.2, for shares by size.
    """

    def __init__(self, sources: Sequence[Batches], weights: Sequence[float] | None = None, seed: int = 0):
        weights = [len(source) for source in sources] if weights is None else weights
        if len(weights) != len(sources):
            raise ValueError(f"there are {len(weights)} weights for {len(sources)} sources: give one for each")
        if min(weights, default=0) < 0 or not sum(weights) > 0:
            raise ValueError(f"the weights are {list(weights)}: none may be negative, and one must be positive")
        check_seed(seed)
        self.sources, self.seed, self.drawn = sources, seed, 0
        self.rank, self.world = 0, 1  # as of `Batches`
        self.weights = torch.tensor(weights, dtype=torch.float64)

    def __len__(self) -> int:
        """Batches of all sources together."""
        return sum(map(len, self.sources))

    def source(self, number: int) -> int:
        """Which source the batch of this number comes from."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        return int(torch.multinomial(self.weights, 1, generator=generator))

    def forever(self) -> Iterator[dict[str, Tensor]]:
        """Batches without end, from where `load_state_dict` put us."""
        while True:
            for turn in range(self.world):
                source = self.sources[self.source(self.drawn)]
                self.drawn += 1
                rows = source.next_rows()
                if turn == self.rank:
                    mine = source.batch(rows)
            yield mine

    def state_dict(self) -> dict:
        """Where `forever` stands, in every source."""
        return {"drawn": self.drawn, "sources": [source.state_dict() for source in self.sources]}

    def load_state_dict(self, state: dict) -> None:
        """Go on from there."""
        self.drawn = state["drawn"]
        for source, own in zip(self.sources, state["sources"], strict=True):
            source.load_state_dict(own)
