"""The settings of `train.py ppo`, and what of them goes together."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from minillm.align import (
    GRPOConfig,
    PPOConfig,
    reinforce,
    rloo,
)
from minillm.cli.flags import flag, flag_name, flat_values, group
from minillm.cli.methods import SELECTIVE, MethodSettings
from minillm.cli.rehearsal import RehearsalSettings
from minillm.cli.settings import COMPILE, RECOMPUTE, ChatTemplate, Machine, RunChoice
from minillm.training import WEIGHINGS

ALGORITHMS = ("ppo", "grpo", "reinforce", "rloo")
EXACT = "exact"  # --reward exact: a program checks the answers


@dataclass(frozen=True, kw_only=True)
class PPOTraining:
    """Training."""

    algorithm: str = flag("ppo", "a value for each token; groups of answers; or the plainest", choices=ALGORITHMS)
    rounds: int = flag(PPOConfig.rounds, "times that answers are sampled and learned from")
    batch_size: int = flag(PPOConfig.batch_size, "answers in a round")
    minibatch_size: int = flag(PPOConfig.minibatch_size, "answers in an update")
    epochs: int = flag(PPOConfig.epochs, "passes over a round")
    max_new_tokens: int = flag(PPOConfig.max_new_tokens, "tokens of an answer at most")
    temperature: float = flag(PPOConfig.temperature, "of sampling")
    learning_rate: float = flag(PPOConfig.learning_rate, "peak rate of AdamW; falls to 0")
    clip_range: float = flag(PPOConfig.clip_range, "how far a token's probability may move in a round, as a share")
    kl_coef: float = flag(PPOConfig.kl_coef, "reward that a nat of distance from the reference costs, at first")
    target_kl: float = flag(PPOConfig.target_kl, "nats an answer towards which that price moves (0: it stays)")
    horizon: int = flag(PPOConfig.horizon, "answers in which it moves there")
    entropy_coef: float = flag(PPOConfig.entropy_coef, "reward for being undecided")
    ptx_coef: float = flag(1.0, "what the loss on what is rehearsed counts, in each update (PPO-ptx)")
    missing_eos_penalty: float = flag(1.0, "deviations of reward that an answer without an end costs")
    group_size: int = flag(GRPOConfig.group_size, "but of ppo: answers to each prompt")
    scale: bool = flag(GRPOConfig.scale, "of grpo: advantages are divided by the deviation of their group")
    clip_high: float = flag(GRPOConfig.clip_high, "of grpo: how far a probability may rise (0: as --clip-range)")
    weigh: str = flag(GRPOConfig.weigh, "of grpo: tokens count the same, answers do, or a constant", choices=WEIGHINGS)
    length_cost: float = flag(GRPOConfig.length_cost, "but of ppo: reward that a token of an answer costs")
    drop_alike: bool = flag(GRPOConfig.drop_alike, "but of ppo: learn nothing from groups that agree")
    recompute: bool = flag(False, RECOMPUTE)
    compile: bool = flag(False, COMPILE)


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """Task."""

    data: Path | None = flag(None, 'prompts to answer, {"prompt"}; without it, tales that ask for letters')
    test: Path | None = flag(None, "prompts to compare answers on at the end; without it, the last tenth of --data")
    from_: Path | None = flag(None, "the run to begin with (default: the newest of letters, else of sft)")
    reward: Path | None = flag(None, "the run of reward to please (default: the newest); or exact: a program checks")
    training: PPOTraining = group(PPOTraining)
    method: MethodSettings = group(MethodSettings)
    rehearsal: RehearsalSettings = group(RehearsalSettings)
    chat: ChatTemplate = group(ChatTemplate)
    run: RunChoice = group(RunChoice)
    machine: Machine = group(Machine)


def is_exact(reward: Path | None) -> bool:
    """Whether --reward names no run but the program that checks."""
    return reward is not None and reward.name == EXACT and not reward.exists()


def check_useless_flags(settings: PPOSettings, given: dict) -> None:
    """Raises: ValueError for a flag that would change nothing."""
    algorithm, method = settings.training.algorithm, settings.method.method
    useless = {
        "adapter_dropout": "in ppo dropout is off, so that a token's ratio begins at 1",
        "layer_decay": "ppo has one rate in all layers",
        "unfreeze": "in ppo all layers learn from the beginning",
    }
    if algorithm == "ppo":
        names = ("group_size", "scale", "clip_high", "weigh", "length_cost", "drop_alike")
        useless |= dict.fromkeys(names, "ppo has no groups, as --algorithm grpo and reinforce have")
    if algorithm in ("reinforce", "rloo"):
        names = ("epochs", "minibatch_size", "clip_range", "clip_high", "scale")
        useless |= dict.fromkeys(names, f"{algorithm} takes one step a round, of all answers")
    if method not in SELECTIVE:
        useless["learning_rate"] = f"what --method {method} learns has --adapter-learning-rate"
    for name, reason in useless.items():
        if name in given:
            raise ValueError(f"{flag_name(name)} has no use here: {reason}; leave it out")
    if method == "adalora":
        raise ValueError("--method adalora shares out its ranks over the steps of a loss, and ppo has none: take lora")


def ppo_config(training: PPOTraining, machine: Machine, rate: float = 0.0) -> PPOConfig:
    """The settings of the loop. rate: of an adapter, 0 where there is none."""
    kind = PPOConfig if training.algorithm == "ppo" else GRPOConfig
    values: dict[str, Any] = flat_values(training) | flat_values(machine)
    own = {field.name: values[field.name] for field in fields(kind) if field.name in values}
    if rate:
        own["learning_rate"] = rate
    if training.algorithm in ("reinforce", "rloo"):
        return {"reinforce": reinforce, "rloo": rloo}[training.algorithm](
            kind(**own | {"minibatch_size": training.batch_size})
        )
    return kind(**own)
