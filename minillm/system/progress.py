"""What a person sees and does while a run is going: speed, time left, and a Ctrl-C that loses nothing."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator


class Interrupt:
    """Whether somebody asked the run to stop."""

    requested = False


@contextlib.contextmanager
def patient_interrupt(grace: float = 0.0) -> Iterator[Interrupt]:
    """Let Ctrl-C and SIGTERM finish the step in hand; a second one, after `grace` seconds, stops at once."""
    interrupt, previous, first = Interrupt(), {}, 0.0

    def request(number, frame):
        nonlocal first
        if interrupt.requested and time.monotonic() - first >= grace:
            raise KeyboardInterrupt
        first = first if interrupt.requested else time.monotonic()
        interrupt.requested = True

    if threading.current_thread() is threading.main_thread():  # no other may set handlers: the caller's own stay
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, request)
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Timer:
    """Speed, and how long the run will take, told early."""

    warm_up, sample = 3, 12  # steps

    def __init__(self, step: int, unit: str = "tokens"):
        self.begin, self.unit, self.announced = step, unit, False
        self.marks: list[tuple[float, int, int]] = []  # when, after which step and how many tokens

    def report(self, record: dict) -> str:
        """A line about the step that has just ended."""
        self.marks.append((time.perf_counter(), record["step"], record["tokens"]))
        (then, _, before), (now, _, after) = self.marks[-min(50, len(self.marks))], self.marks[-1]
        speed = (after - before) / (now - then) if now > then else 0
        validation = f" val {record['val_loss']:.3f}" if "val_loss" in record else ""
        return f"loss {record['loss']:.3f}{validation} {speed:,.0f} {self.unit}/s"

    def may_announce(self) -> bool:
        """Whether enough was seen, for the first time, to say how long it will take."""
        seen = [step for _, step, _ in self.marks if step > self.begin + self.warm_up]
        ready = not self.announced and bool(seen) and seen[-1] - seen[0] >= self.sample - 1
        self.announced = self.announced or ready
        return ready

    def announcement(self, steps: int, where: str) -> str:
        """How long the rest of `steps` will take."""
        first = next(mark for mark in self.marks if mark[1] > self.begin + self.warm_up)
        per_step = (self.marks[-1][0] - first[0]) / (self.marks[-1][1] - first[1])
        return f"about {duration(per_step * (steps - self.marks[-1][1]))} to go on {where}"


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(200), duration(50)
    ('3.3 minutes', '50 seconds')
    """
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
