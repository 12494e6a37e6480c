"""Batches for the loop, each ready before it is asked for, so that a device never waits for one.

On a CPU a batch is made when it is due. For a device a thread makes the next one while this one is learned from: it is
put into page-locked memory (which torch's allocator uses again and again) and travels without being waited for. What
the thread has made ahead is no part of a checkpoint: a resumed run makes it anew, and draws the same.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from minillm.system import ALONE, Alone, Compute


class Feed:
    """Batches without end, changed by `prepare` and moved to the device. A context: its thread ends with the block.

    Only batches with a `state_dict`, whose random choices are their own, are made ahead; others might draw from the
    random generators that the loop draws from.

    Args:
        skip: so many batches were seen before, of those without a `state_dict`
        together: of several processes each takes every `world`th batch
    """

    def __init__(
        self, batches: Iterable[dict], prepare: Callable[[dict], dict], compute: Compute, skip: int,
        together: Alone = ALONE,
    ):  # fmt: skip
        self.batches, self.prepare, self.compute = batches, prepare, compute
        stream = batches.forever() if hasattr(batches, "forever") else islice(_repeat(batches), skip, None)
        if hasattr(batches, "world"):  # those of others are not even made
            batches.rank, batches.world = together.rank, together.world
        else:
            stream = islice(stream, together.rank, None, together.world)
        self.stream = stream
        self.has_state = hasattr(batches, "state_dict")
        ahead = compute.device.type != "cpu" and self.has_state
        self.thread = ThreadPoolExecutor(1, "next batch", initializer=compute.here) if ahead else None
        self.coming: Future | None = None
        self.state = batches.state_dict() if self.has_state else None

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *error) -> None:
        if self.thread is not None:
            self.thread.shutdown()

    def take(self, number: int) -> list[dict]:
        """The next batches, on the device; fewer where there are no more."""
        found = []
        for _ in range(number):
            batch, self.state = self._make() if self.coming is None else self.coming.result()
            self.coming = None if self.thread is None else self.thread.submit(self._make)
            if batch is None:
                break
            found.append(self.compute.to_device(batch))
        return found

    def _make(self) -> tuple[dict | None, dict | None]:
        """A batch that is ready to travel, and where the batches stand behind it."""
        batch = next(self.stream, None)
        if batch is not None:
            batch = self.compute.pinned(self.prepare(batch))
        return batch, self.batches.state_dict() if self.has_state else None


def _repeat(batches: Iterable[dict]) -> Iterator[dict]:
    """The batches again and again; none if there are none."""
    found = True
    while found:
        found = False
        for batch in batches:
            found = True
            yield batch
