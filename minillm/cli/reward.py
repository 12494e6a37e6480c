"""`train.py reward`: a model that says how good an answer is, learned from which of two answers people chose."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from minillm import tales
from minillm.align import check_vocabulary, pair_of_answers, preference
from minillm.cli.common import latest_run, settings_that_hold
from minillm.cli.finetune import SHORTEST, Scored, Task, Tuning, outputs_of, padded, run_finetune, write_predictions
from minillm.cli.flags import flag
from minillm.data import Frame, Parts, Preference, read_preferences
from minillm.hub import load_causal, load_tokenizer
from minillm.metrics import bootstrap_interval, spearman
from minillm.models import RewardModel
from minillm.report import picture, reliability
from minillm.text import Tokenizer
from minillm.training import RunFolder


@dataclass(frozen=True, kw_only=True)
class Preferring(Tuning):
    """Settings of every stage that learns from preferences."""

    from_: Path | None = flag(None, "the run to begin with (default: the newest of letters, else of sft)")
    batch_size: int = flag(8, "pairs in a step")


@dataclass(frozen=True, kw_only=True)
class Reward(Preferring):
    """Settings of `reward`."""

    epochs: float = flag(1.0, f"passes over the pairs; {SHORTEST} steps at least (0: 7 passes)")
    learning_rate: float = flag(1e-3, "peak rate of AdamW: embeddings and the output layer")
    matrix_learning_rate: float = flag(2e-3, "peak rate of Muon: the trunk's matrices")
    centre: float = flag(0.01, "how strongly the rewards of a pair are drawn to a sum of 0")


def start(settings) -> RunFolder:
    """The run to begin with."""
    return RunFolder(settings.from_) if settings.from_ else latest_run("letters", "sft")


def refuse_dropout(given: dict) -> None:
    """Raises ValueError for a flag that would change nothing: two answers are compared, and none may lose by a draw."""
    if "adapter_dropout" in given:
        raise ValueError("--adapter-dropout has no use here: preferences are learned without dropout; leave it out")


def load_answering(run: RunFolder, device: str | torch.device = "cpu") -> tuple[Tokenizer, nn.Module]:
    """The tokenizer and the model of a run that can answer. Raises ValueError for one that cannot be aligned."""
    tokenizer, model = load_tokenizer(run), load_causal(run, device)
    check_vocabulary(model, tokenizer, f"model in {run.path}")
    return tokenizer, model


def answers_of(record: Preference, tokenizer: Tokenizer, frame: Frame, context: int, classes: dict) -> tuple:
    """The better and the worse answer, each behind the prompt. Raises ValueError with file:line where none fits."""
    try:
        return pair_of_answers(*record.pair, tokenizer, context)
    except ValueError as error:
        raise ValueError(f"{record.place}: {error}") from None


def build(task: Task, settings: Reward, texts: list[str], classes: int) -> tuple[Tokenizer, nn.Module]:
    """A scalar head on the model that answers."""
    tokenizer, trunk = load_answering(start(settings))
    return tokenizer, RewardModel(trunk)


def report(outputs: list[Tensor], scored: Scored) -> dict:
    """Accuracy on pairs with its interval, how well it is calibrated, and how it agrees with the truth, if known."""
    records: list[Preference] = scored.records
    rewards = torch.stack(outputs).view(-1, 2)  # chosen, rejected
    right = (rewards[:, 0] > rewards[:, 1]).tolist()
    rows = zip(records, rewards.tolist())
    write_predictions(
        scored.run,
        [
            {**dict(zip(("prompt", "chosen", "rejected"), r.texts)), "chosen_reward": a, "rejected_reward": b}
            for r, (a, b) in rows
        ],
    )
    chance = (rewards[:, 0] - rewards[:, 1]).abs().sigmoid()  # that the one it prefers was chosen
    with picture(scored.run.path / "reliability.png", figsize=(4.6, 4.2)) as ax:
        reliability(chance.tolist(), right, ax=ax)
    interval = bootstrap_interval(right)
    scores = {
        "accuracy": interval.mean,
        "accuracy_low": interval.low,
        "accuracy_high": interval.high,
        "confidence": float(chance.mean()),
    }
    return scores | against_truth(records, rewards)


def against_truth(records: list[Preference], rewards: Tensor) -> dict:
    """How rewards (N, 2) agree with the true scores; nothing where these are not known, or the same in every pair."""
    if not all(record.truth for record in records):
        return {}
    truth = torch.tensor([record.truth for record in records])
    differ = truth[:, 0] != truth[:, 1]
    if not differ.any():
        return {}
    agree = ((rewards[:, 0] > rewards[:, 1]) == (truth[:, 0] > truth[:, 1]))[differ]
    return {
        "agrees_with_truth": float(agree.float().mean()),
        "spearman_with_truth": spearman(rewards.flatten().tolist(), truth.flatten().tolist()),
    }


def baselines(parts: Parts, names: list[str], settings: Preferring) -> dict:
    """Who takes the longer answer, and, where true scores are known, who takes the better one; of the tales' own pairs
    also what is to be expected of the latter, who cannot foresee the noise: no model does better.
    """
    longer = [len(chosen) > len(rejected) for _, chosen, rejected in (r.texts for r in parts.test)]
    found = {"the longer answer": {"accuracy": sum(longer) / len(longer)}}
    if all(record.truth for record in parts.test):
        true = [record.truth[0] > record.truth[1] for record in parts.test]
        found["the truth"] = {"accuracy": sum(true) / len(true)}
        if settings.data is None:
            chances = [tales.chance_of_choice(max(record.truth), min(record.truth)) for record in parts.test]
            found["the best that the noise allows"] = {"accuracy": sum(chances) / len(chances)}
    return found


REWARD = Task(
    stage="reward",
    files=("preferences",),
    read=read_preferences,
    labels=None,
    example=answers_of,
    objective=preference(),
    report=report,
    baselines=baselines,
    head=None,
    build=build,
    batches=padded,
    answer=outputs_of,
)


def run_reward(settings: Reward, given: dict) -> int:
    """Learn what people prefer: a model that gives an answer a number, higher for the better of two.

    python train.py reward                               letters about tales, on the newest run of letters
    python train.py reward --data pairs.jsonl            your pairs: {"prompt", "chosen", "rejected"}
    python train.py ppo                                  then let a model learn from it
    """
    refuse_dropout(given)
    settings = settings_that_hold(settings, given, "reward")
    if not settings.resume:
        settings = replace(settings, from_=start(settings).path)
    return run_finetune(replace(REWARD, objective=preference(settings.centre)), settings, given)
