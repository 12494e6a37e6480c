"""`train.py tour`: the whole life of a language model, stage by stage, and a page that tells it."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from minillm.checkpoint import RunFolder
from minillm.cli import flag
from minillm.files import write_text
from minillm.progress import duration
from minillm.stages.common import Computing
from minillm.stages.tour_report import tell

PAGE = "report.html"


@dataclass(frozen=True, kw_only=True)
class Tour(Computing):
    """Settings of `tour`."""

    out: Path = flag(Path("runs/tour"), "folder of all its runs, and of report.html; what is finished there is kept")


class Stop(NamedTuple):
    """A stage of the tour: its flags that name earlier stops, and about how long it takes on two cores."""

    stage: str
    seconds: int
    after: tuple[tuple[str, str], ...] = ()
    more: tuple[str, ...] = ()


STOPS = (
    Stop("bigram", 20),
    Stop("pretrain", 105),
    Stop("sft", 190, (("--from", "pretrain"),)),
    Stop("letters", 60, (("--from", "sft"),), ("--task", "letters")),
    Stop("reward", 80, (("--from", "letters"),)),
    Stop("ppo", 120, (("--from", "letters"), ("--reward", "reward"))),
    Stop("dpo", 80, (("--from", "letters"),)),
)
TELLING = 60  # seconds that the page takes: all models answer the same prompts


def run_tour(settings: Tour, given: dict) -> int:
    """The whole life in order: text to tokens, bigram, pre-training, instruction tuning, reward model, PPO, DPO, and
    an evaluation of all of them; then one page, report.html, that tells it with pictures and samples.

    python train.py tour                     about ten minutes on two processor cores
    python train.py tour --out runs/mine     again, elsewhere

    What is finished in --out is not done again, so a tour that was stopped goes on with the same command.
    """
    left = [stop for stop in STOPS if not RunFolder(settings.out / stop.stage).finished]
    total = duration(sum(stop.seconds for stop in left) + TELLING)
    print(f"tour: {len(left)} of {len(STOPS)} stages to go, about {total} on two processor cores, into {settings.out}")
    for number, stop in enumerate(STOPS, 1):
        if stop in left:
            print(f"\n[{number} of {len(STOPS)}] {stop.stage}, about {duration(stop.seconds)}", flush=True)
            status = travel(settings, stop)
            if status:
                print(f"the tour stopped at {stop.stage}; go on with: python train.py tour --out {settings.out}")
                return status
    print("\nall models answer the same prompts", flush=True)
    page = settings.out / PAGE
    write_text(page, tell({stop.stage: RunFolder(settings.out / stop.stage) for stop in STOPS}, settings))
    print(f"{page} tells it all; open it in a browser")
    return 0


def travel(settings: Tour, stop: Stop) -> int:
    """Run a stage by its own command, or go on with it; returns its exit status."""
    from minillm.cli import main  # which knows all stages, this one too

    run = RunFolder(settings.out / stop.stage)
    if run.started:
        flags = ["--resume"]
    else:
        earlier = [part for name, stage in stop.after for part in (name, str(settings.out / stage))]
        flags = [*earlier, "--seed", str(settings.seed), "--device", settings.device, "--dtype", settings.dtype]
        flags += stop.more
    return main([stop.stage, *flags, "--out", str(run.path)])
