"""`train.py tour`: the whole life of a language model, stage by stage, and a page that tells it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from minillm import report, tales
from minillm.align.rollout import Conversation
from minillm.checkpoint import RunFolder
from minillm.cli import flag
from minillm.device import choose
from minillm.files import write_text
from minillm.generate import write
from minillm.progress import duration
from minillm.stages.common import Computing, load_causal, load_tokenizer
from minillm.stages.judged import truth, written
from minillm.stages.ppo import load_prompts

COMPARED = 3  # prompts whose answers stand side by side
SCORED = 100  # prompts for the true scores of all models


@dataclass(frozen=True, kw_only=True)
class Tour(Computing):
    """Settings of `tour`."""

    out: Path = flag(Path("runs/tour"), "folder of all its runs, and of report.html; what is finished there is kept")


class Stop(NamedTuple):
    """A stage of the tour."""

    stage: str
    title: str
    about: str
    after: tuple[tuple[str, str], ...] = ()  # flags that name earlier runs
    pictures: tuple[tuple[str, str], ...] = ()


STOPS = (
    Stop(
        "bigram",
        "A table of pairs",
        "The baseline: how often each token follows each other one. It knows words and no sentence.",
        pictures=(("loss.png", "Loss by step; no model can go below the floor, the exact entropy of the text."),),
    ),
    Stop(
        "pretrain",
        "A transformer learns to tell tales",
        "The same text, read with attention: what comes late in a tale depends on what came early.",
        pictures=(("loss.png", "Loss by step, with the bigram's and the floor."),),
    ),
    Stop(
        "sft",
        "It learns to answer",
        "Conversations about tales, of which only the answers are learned; and letters of mixed quality.",
        (("--from", "pretrain"),),
        (("loss.png", "Loss on the answers by step."),),
    ),
    Stop(
        "reward",
        "A model of what people prefer",
        "From pairs of letters, of which people chose one, a scalar head learns how good a letter is.",
        (("--from", "sft"),),
        (("reliability.png", "How often it is right, by how sure it is."),),
    ),
    Stop(
        "ppo",
        "A policy that pleases the reward model",
        "Letters are sampled, rewarded, and made likelier or less likely, near to what the model wrote before.",
        (("--from", "sft"), ("--reward", "reward")),
        (("ppo.png", "Reward, true score and distance, round by round."),),
    ),
    Stop(
        "dpo",
        "The same without a reward model",
        "The chosen letters become likelier than the rejected ones, directly.",
        (("--from", "sft"),),
        (("loss.png", "Loss on pairs by step; it begins at ln 2."),),
    ),
)


def run_tour(settings: Tour, given: dict) -> int:
    """The whole life in order: bigram, pre-training, instruction tuning, reward model, PPO, DPO; then one page.

    python train.py tour                     about ten minutes on two processor cores
    python train.py tour --out runs/mine     again, elsewhere

    What is finished in --out is not done again, so a tour that was stopped goes on with the same command.
    """
    from minillm.cli import main  # which knows all stages, this one too

    for number, stop in enumerate(STOPS, 1):
        run = RunFolder(settings.out / stop.stage)
        if run.finished:
            print(f"[{number} of {len(STOPS)}] {stop.title}: {run.path} is there already", flush=True)
            continue
        print(f"[{number} of {len(STOPS)}] {stop.title}: train.py {stop.stage}", flush=True)
        flags = [part for name, other in stop.after for part in (name, str(settings.out / other))]
        flags += ["--seed", str(settings.seed), "--device", settings.device, "--dtype", settings.dtype]
        again = ["--resume"] if run.started else flags
        status = main([stop.stage, *again, "--out", str(run.path)])
        if status:
            return status
    place = settings.out / "report.html"
    write_text(place, tell(settings))
    print(f"{place} tells it all; open it in a browser")
    return 0


def tell(settings: Tour) -> str:
    """The page."""
    found = {stop.stage: RunFolder(settings.out / stop.stage) for stop in STOPS}
    metrics = {stage: run.metrics() for stage, run in found.items()}
    total = sum(row["seconds"] for row in metrics.values())
    rows = [
        (name, row["seconds"], row["trainable_parameters"], gain(metrics, stop))
        for stop, (name, row) in zip(STOPS, metrics.items())
    ]
    parts = [
        report.paragraph(
            f"Everything on this page was trained on this machine, one stage after another, in {duration(total)} of "
            "training. The text is a small world in which every probability is known, so the loss has a floor, and a "
            "letter has a true score."
        ),
        report.heading("What each stage cost, and what it gained"),
        report.table(("stage", "seconds", "parameters that learn", "gain"), rows),
    ]
    for stop in STOPS:
        parts += [report.heading(stop.title), report.paragraph(stop.about)]
        parts += [report.picture(found[stop.stage].path / name, caption) for name, caption in stop.pictures]
    return report.page("The life of a language model", [*parts, *stories(settings, found), *letters(settings, found)])


def gain(metrics: dict[str, dict], stop: Stop) -> str:
    """What a stage reached, in a sentence."""
    row = metrics[stop.stage]
    if stop.stage in ("bigram", "pretrain"):
        return f"loss {row['val_loss']:.3f} nats per token; floor {report.shown(row['floor'])}"
    if stop.stage == "sft":
        before = row["baselines"]["before, few-shot"]["exact_match"]
        return f"{row['exact_match']:.0%} of the questions right, {before:.0%} before"
    if stop.stage == "reward":
        return f"right in {row['accuracy']:.0%} of held-out pairs"
    won = f"true score {row['true_score']:.2f} after {row['true_score_before']:.2f}, wins {row['win_rate']:.0%}"
    return f"{won}, {row['kl']:.1f} nats from where it was"


def stories(settings: Tour, found: dict[str, RunFolder]) -> list[str]:
    """What the models that continue texts write, side by side."""
    told = {}
    for stage in ("bigram", "pretrain"):
        run = found[stage]
        generator = torch.Generator().manual_seed(settings.seed)
        told[stage] = write(load_causal(run), load_tokenizer(run), [""], 120, generator=generator)[0]
    return [report.heading("Two tales"), report.texts(told)]


def letters(settings: Tour, found: dict[str, RunFolder]) -> list[str]:
    """What each model answers to the same prompts, and the true scores of many answers."""
    place = choose(settings.device, settings.dtype)
    prompts = load_prompts(None)[1][:SCORED]
    answers = {}
    for stage in ("sft", "ppo", "dpo"):
        run = found[stage]
        more = (load_tokenizer(run), prompts, place, settings.seed, 80)
        answers[stage] = written(load_causal(run, place.device), *more)[0]
    rows = [(stage, *scores_of(prompts, own)) for stage, own in answers.items()]
    parts = [
        report.heading("Letters, before and after alignment"),
        report.table(("model", "true score, mean", "standard deviation", "words"), rows),
        report.paragraph(
            f"The best letter has a score of {tales.BEST_SCORE:.1f}. Each model drew one letter for each of "
            f"{len(prompts)} tales that none has seen."
        ),
    ]
    for number, prompt in enumerate(prompts[:COMPARED]):
        parts += [
            report.paragraph(prompt[-1]["content"]),
            report.texts({stage: own[number] for stage, own in answers.items()}),
        ]
    return parts


def scores_of(prompts: Sequence[Conversation], answers: Sequence[str]) -> tuple[float, float, float]:
    """Mean and deviation of the true scores, and words an answer."""
    scores = torch.tensor(truth(prompts, answers))
    words = sum(len(answer.split()) for answer in answers) / len(answers)
    return float(scores.mean()), float(scores.std()), words
