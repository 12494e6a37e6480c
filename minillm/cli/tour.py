"""`train.py tour`: the whole life of a language model, stage by stage, and a page that tells it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from minillm.cli.flags import flag, flag_name, group, program
from minillm.cli.opening import check_folder
from minillm.cli.settings import Machine
from minillm.cli.tour_report import life_story
from minillm.system import duration, write_text
from minillm.training import RunFolder

PAGE = "report.html"
LIVE = {  # pages that compute, beside the report: what `page` is told
    "page.html": (("--from", "pretrain"), ("--beside", "sft")),
    "letters.html": (("--from", "dpo"), ("--reward", "reward")),
}


@dataclass(frozen=True, kw_only=True)
class TourSettings:
    """Runs."""

    out: Path = flag(Path("runs/tour"), "folder of all its runs, and of report.html; what is finished there is kept")
    machine: Machine = group(Machine)


class Stage(NamedTuple):
    """A stage of the tour: its folder, its command, the flags that name earlier stages, and about how long it takes."""

    name: str
    command: tuple[str, ...]
    seconds: int
    after: tuple[tuple[str, str], ...] = ()


STAGES = (
    Stage("bigram", ("bigram",), 20),
    Stage("pretrain", ("pretrain",), 105),
    Stage("sft", ("sft",), 170, (("--from", "pretrain"),)),
    Stage("letters", ("sft", "--task", "letters"), 100, (("--from", "sft"),)),
    Stage("reward", ("reward",), 60, (("--from", "letters"),)),
    Stage("ppo", ("ppo",), 120, (("--from", "letters"), ("--reward", "reward"))),
    Stage("dpo", ("dpo",), 60, (("--from", "letters"),)),
)
PAGE_SECONDS = 60  # that the page takes: all models answer the same prompts


def run_tour(settings: TourSettings, given: dict, start: Callable[[list[str]], int]) -> int:
    """The whole life in order: text to tokens, bigram, pre-training, instruction tuning, reward model, PPO, DPO, and
    an evaluation of all of them; then report.html, which tells it with pictures and samples, and beside it two pages
    with the models in them: page.html, before and after tuning, and letters.html, where you choose between letters.

    python train.py tour                     about twelve minutes on two processor cores
    python train.py tour --out runs/mine     again, elsewhere

    What is finished in --out is not done again, so a tour that was stopped goes on with the same command.
    """
    out = settings.out
    check_folder(out)
    check_seeds(out, settings.machine.seed)
    left = [stage for stage in STAGES if not RunFolder(out / stage.name).finished]
    total = duration(sum(stage.seconds for stage in left) + PAGE_SECONDS)
    print(f"tour: {len(left)} of {len(STAGES)} stages to go, about {total} on two processor cores, into {out}")
    for number, stage in enumerate(STAGES, 1):
        if stage in left:
            print(f"\n[{number} of {len(STAGES)}] {stage.name}, about {duration(stage.seconds)}", flush=True)
            status = start(command_of(stage, out, settings.machine))
            if status:
                flags = "".join(f" {flag_name(name)} {value}" for name, value in given.items() if name != "out")
                print(f"the tour stopped at {stage.name}; go on with: {program()} tour --out {out}{flags}")
                return status
    print("\nall models answer the same prompts", flush=True)
    runs = {stage.name: RunFolder(out / stage.name) for stage in STAGES}
    write_text(out / PAGE, life_story(runs, settings.machine))
    for name, flags in LIVE.items():
        places = [word for flag, stage in flags for word in (flag, str(out / stage))]
        if start(["page", *places, "--out", str(out / name)]):
            print(f"the report goes without {name}", file=sys.stderr)
    print(f"{out / PAGE} tells it all; open it in a browser")
    return 0


def check_seeds(out: Path, seed: int) -> None:
    """Raises: ValueError where runs of another seed stand already: one page would tell of both."""
    for stage in STAGES:
        run = RunFolder(out / stage.name)
        if run.started and (own := run.config()["settings"]["seed"]) != seed:
            raise ValueError(
                f"{run.path} was made with --seed {own}, not {seed}: take that, or another folder by --out"
            )


def command_of(stage: Stage, out: Path, machine: Machine) -> list[str]:
    """The command line of a stage, or that which goes on with it."""
    run = RunFolder(out / stage.name)
    if run.started:
        return [stage.command[0], "--resume", "--out", str(run.path)]
    earlier = [part for flag, name in stage.after for part in (flag, str(out / name))]
    where = ["--seed", str(machine.seed), "--device", machine.device, "--dtype", machine.dtype]
    return [*stage.command, *earlier, *where, "--out", str(run.path)]
