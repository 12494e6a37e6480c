"""`train.py tour`: the whole life of a language model, stage by stage, and a page that tells it."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from minillm.cli.common import Computing, check_folder
from minillm.cli.flags import flag, flag_name
from minillm.cli.tour_report import tell
from minillm.system import duration, write_text
from minillm.training import RunFolder

PAGE = "report.html"


@dataclass(frozen=True, kw_only=True)
class Tour(Computing):
    """Settings of `tour`."""

    out: Path = flag(Path("runs/tour"), "folder of all its runs, and of report.html; what is finished there is kept")


class Stop(NamedTuple):
    """A stop of the tour: its folder, its command, the flags that name earlier stops, and about how long it takes."""

    name: str
    command: tuple[str, ...]
    seconds: int
    after: tuple[tuple[str, str], ...] = ()
    more: tuple[str, ...] = ()


STOPS = (
    Stop("bigram", ("bigram",), 20),
    Stop("pretrain", ("pretrain",), 105),
    Stop("sft", ("sft",), 170, (("--from", "pretrain"),)),
    Stop("letters", ("sft", "--task", "letters"), 100, (("--from", "sft"),)),
    Stop("reward", ("reward",), 60, (("--from", "letters"),)),
    Stop("ppo", ("ppo",), 120, (("--from", "letters"), ("--reward", "reward"))),
    Stop("dpo", ("dpo",), 60, (("--from", "letters"),)),
)
TELLING = 60  # seconds that the page takes: all models answer the same prompts


def run_tour(settings: Tour, given: dict) -> int:
    """The whole life in order: text to tokens, bigram, pre-training, instruction tuning, reward model, PPO, DPO, and
    an evaluation of all of them; then one page, report.html, that tells it with pictures and samples.

    python train.py tour                     about twelve minutes on two processor cores
    python train.py tour --out runs/mine     again, elsewhere

    What is finished in --out is not done again, so a tour that was stopped goes on with the same command.
    """
    check_folder(settings.out)
    check_seeds(settings)
    left = [stop for stop in STOPS if not RunFolder(settings.out / stop.name).finished]
    total = duration(sum(stop.seconds for stop in left) + TELLING)
    print(f"tour: {len(left)} of {len(STOPS)} stages to go, about {total} on two processor cores, into {settings.out}")
    for number, stop in enumerate(STOPS, 1):
        if stop in left:
            print(f"\n[{number} of {len(STOPS)}] {stop.name}, about {duration(stop.seconds)}", flush=True)
            status = travel(settings, stop)
            if status:
                flags = "".join(f" {flag_name(name)} {value}" for name, value in given.items() if name != "out")
                print(f"the tour stopped at {stop.name}; go on with: python train.py tour --out {settings.out}{flags}")
                return status
    print("\nall models answer the same prompts", flush=True)
    page = settings.out / PAGE
    write_text(page, tell({stop.name: RunFolder(settings.out / stop.name) for stop in STOPS}, settings))
    print(f"{page} tells it all; open it in a browser")
    return 0


def check_seeds(settings: Tour) -> None:
    """Raises ValueError where runs of another seed stand already: one page would tell of both."""
    for stop in STOPS:
        run = RunFolder(settings.out / stop.name)
        if run.started and (seed := run.config()["settings"]["seed"]) != settings.seed:
            raise ValueError(
                f"{run.path} was made with --seed {seed}, not {settings.seed}: take that, or another folder by --out"
            )


def travel(settings: Tour, stop: Stop) -> int:
    """Run a stage by its own command, or go on with it; returns its exit status."""
    from minillm.cli.main import main

    run = RunFolder(settings.out / stop.name)
    if run.started:
        flags = ["--resume"]
    else:
        earlier = [part for name, stage in stop.after for part in (name, str(settings.out / stage))]
        flags = [*earlier, "--seed", str(settings.seed), "--device", settings.device, "--dtype", settings.dtype]
        flags += stop.more
    return main([*stop.command[: 1 if run.started else None], *flags, "--out", str(run.path)])
