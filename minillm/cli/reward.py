"""`train.py reward`: a model that says how good an answer is, learned from which of two answers people chose."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from minillm import tales
from minillm.align import check_vocabulary, pair_of_answers, preference
from minillm.cli.finetune import SHORTEST, Task, TuningSettings, TuningTraining
from minillm.cli.flags import change, flag, group
from minillm.cli.settings import ChatTemplate
from minillm.data import Preference, read_preferences
from minillm.hub import load_causal, load_tokenizer, source
from minillm.metrics import bootstrap_interval, spearman
from minillm.models import RewardModel
from minillm.report import picture, reliability
from minillm.text import Tokenizer
from minillm.training import RunFolder, named_or_latest


@dataclass(frozen=True, kw_only=True)
class PreferenceTraining(TuningTraining):
    """Training."""

    epochs: float = flag(1.0, f"passes over the pairs; {SHORTEST} steps at least")
    batch_size: int = flag(8, "pairs in a step")
    learning_rate: float = flag(1e-3, "peak rate of AdamW: embeddings and the output layer")
    matrix_learning_rate: float = flag(2e-3, "peak rate of Muon: the trunk's matrices")


@dataclass(frozen=True, kw_only=True)
class PreferenceSettings(TuningSettings):
    """Task."""

    from_: Path | None = flag(None, "the run to begin with (default: the newest of letters, else of sft)")
    training: PreferenceTraining = group(PreferenceTraining)
    chat: ChatTemplate = group(ChatTemplate)


@dataclass(frozen=True, kw_only=True)
class RewardSettings(PreferenceSettings):
    """Task."""

    centre: float = flag(0.01, "how strongly the rewards of a pair are drawn to a sum of 0")


class PreferenceTask(Task):
    """What learns from preferences: pairs of answers to one prompt."""

    files = ("preferences",)
    unit = "pairs"
    choices = 2  # which of the two was chosen
    ceilings = ("the truth", "the best that the noise allows")

    @classmethod
    def complete(cls, settings: PreferenceSettings, given: dict) -> PreferenceSettings:
        return change(settings, from_=named_or_latest(settings.from_, "letters", "sft").path)

    def read(self) -> None:
        if "adapter_dropout" in self.given:  # two answers are compared, and dropout noise would differ between them
            raise ValueError("--adapter-dropout has no use here: preferences are learned without dropout; leave it out")
        super().read()

    def read_file(self, path: Path) -> list[Preference]:
        return read_preferences(path)

    def example(self, record: Preference) -> tuple[dict, dict]:
        """The better and the worse answer, each behind the prompt."""
        return pair_of_answers(*record.pair, self.tokenizer, self.settings.context)

    def baselines(self) -> dict[str, dict]:
        """Who takes the longer answer, and, where true scores are known, who takes the better one.

        Of the tales' own pairs also what is to be expected of the latter, who cannot foresee the noise: no model does
        better.
        """
        records = self.parts.test
        longer = [len(chosen) > len(rejected) for _, chosen, rejected in (record.texts for record in records)]
        found = {"the longer answer": {"accuracy": sum(longer) / len(longer)}}
        if all(record.truth for record in records):
            true = [record.truth[0] > record.truth[1] for record in records]
            found["the truth"] = {"accuracy": sum(true) / len(true)}
            if self.settings.records.data is None:
                chances = [tales.chance_of_choice(max(record.truth), min(record.truth)) for record in records]
                found["the best that the noise allows"] = {"accuracy": sum(chances) / len(chances)}
        return found


class RewardTask(PreferenceTask):
    """Learn what people prefer: a model that gives an answer a number, higher for the better of two.

    python train.py reward                               letters about tales, on the newest run of letters
    python train.py reward --data pairs.jsonl            your pairs: {"prompt", "chosen", "rejected"}
    python train.py ppo                                  then let a model learn from it
    """

    name = "reward"

    def new_model(self, texts: list[str]) -> tuple[Tokenizer, nn.Module]:
        self.objective = preference(self.settings.centre)
        tokenizer, trunk = load_answering(source(self.settings.from_, self.settings.chat.template), dtype=self.dtype)
        return tokenizer, RewardModel(trunk, bias=getattr(trunk.config, "recipe", "minillm") == "minillm")

    def scores(self, answers: list[Tensor]) -> dict:
        """Accuracy on pairs with its interval, calibration, and how it agrees with the truth, if that is known."""
        records: list[Preference] = self.test_records
        rewards = torch.stack(answers).view(-1, 2)  # chosen, rejected
        right = (rewards[:, 0] > rewards[:, 1]).tolist()
        self.write_predictions(
            [
                {**dict(zip(("prompt", "chosen", "rejected"), r.texts)), "chosen_reward": a, "rejected_reward": b}
                for r, (a, b) in zip(records, rewards.tolist())
            ],
        )
        chance = (rewards[:, 0] - rewards[:, 1]).abs().sigmoid()  # that the one it prefers was chosen
        with picture(self.run.path / "reliability.png", figsize=(4.6, 4.2)) as ax:
            reliability(chance.tolist(), right, ax=ax)
        interval = bootstrap_interval(right)
        share = dict(zip(("accuracy", "accuracy_low", "accuracy_high"), interval))
        return {**share, "confidence": float(chance.mean()), **against_truth(records, rewards)}


def load_answering(
    run: RunFolder, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> tuple[Tokenizer, nn.Module]:
    """The tokenizer and the model of a run that can answer. Raises: ValueError for one that cannot be aligned."""
    tokenizer, model = load_tokenizer(run), load_causal(run, device, dtype)
    check_vocabulary(model, tokenizer, f"model in {run.path}")
    return tokenizer, model


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
