"""`train.py ppo`: a policy that learns from a reward model, or from any of its kin (GRPO, REINFORCE)."""

import hashlib
from dataclasses import dataclass, fields, replace
from pathlib import Path

from torch import nn

from minillm.align.grpo import GRPO, GRPOConfig, reinforce
from minillm.align.ppo import PPO, PPOConfig
from minillm.align.reward import Rewards
from minillm.align.rollout import Conversation
from minillm.checkpoint import RunFolder, base_of, describe, load_model
from minillm.cli import flag
from minillm.device import Place, choose, seed_everything
from minillm.heads import RewardModel
from minillm.plots import picture, rounds
from minillm.stages.common import (
    DATA,
    Learning,
    latest_run,
    load_causal,
    load_tokenizer,
    open_run,
    saved_settings,
    write_metrics,
)
from minillm.stages.judged import compared, true_scores, write_answers, written
from minillm.stages.methods import Method, prepare
from minillm.stages.preferences import asked, prompts
from minillm.tokenizer import Tokenizer

ALGORITHMS = ("ppo", "grpo", "reinforce")
STANDARD = 200  # answers by which rewards are put to mean 0 and deviation 1
WATCHED = 60  # prompts that are answered at each evaluation


@dataclass(frozen=True, kw_only=True)
class PPOSettings(Method, Learning):
    """Settings of `ppo`."""

    data: Path | None = flag(None, 'prompts to answer, {"prompt"}; without it, tales that ask for letters')
    test: Path | None = flag(None, "prompts to compare answers on at the end; without it, the last tenth of --data")
    from_: Path | None = flag(None, "the run to begin with (default: the newest of letters, else of sft)")
    reward: Path | None = flag(None, "the run of reward to please (default: the newest)")
    out: Path | None = flag(None, "folder of the run (default: runs/ppo, numbered when taken)")
    resume: bool = flag(False, "go on with a run that was stopped: the one in --out, or the newest")
    algorithm: str = flag("ppo", "a value for each token; groups of answers; or the plainest", choices=ALGORITHMS)
    rounds: int = flag(40, "times that answers are sampled and learned from")
    batch_size: int = flag(32, "answers in a round")
    minibatch_size: int = flag(16, "answers in an update")
    epochs: int = flag(2, "passes over a round")
    max_new_tokens: int = flag(80, "tokens of an answer at most")
    temperature: float = flag(1.0, "of sampling")
    learning_rate: float = flag(1e-3, "peak rate of AdamW; falls to 0")
    clip: float = flag(0.2, "how far a token's probability may move in a round, as a share")
    kl_weight: float = flag(0.05, "reward that a nat of distance from the reference costs, at first")
    target_kl: float = flag(0.0, "nats an answer towards which that price moves (0: it stays)")
    entropy_weight: float = flag(0.0, "reward for being undecided")
    missing_end: float = flag(1.0, "deviations of reward that an answer without an end costs")
    group_size: int = flag(8, "of grpo and reinforce: answers to each prompt")


def run_ppo(settings: PPOSettings, given: dict) -> int:
    """Let a model learn from a reward model: it answers, is rewarded, and moves a little, near to what it was.

    python train.py ppo                                  the newest runs of letters and reward
    python train.py ppo --method lora                    one trunk is policy and reference
    python train.py ppo --algorithm grpo --target-kl 6
    python train.py ppo --data prompts.jsonl             your prompts: {"prompt"}
    """
    if not settings.resume:
        begin = RunFolder(settings.from_) if settings.from_ else latest_run("letters", "sft")
        judge = RunFolder(settings.reward) if settings.reward else latest_run("reward")
        settings = replace(settings, from_=begin.path, reward=judge.path)
    run, settings, resuming = open_run(settings, given, "ppo")
    place = choose(settings.device, settings.dtype)
    seed_everything(settings.seed)
    source = RunFolder(settings.from_)
    tokenizer, before = load_tokenizer(source), load_causal(source, place.device)
    prepared = prepare(load_causal(source), settings, tokenizer, settings.seed)
    run.adapter, policy = prepared.adapter, prepared.model
    train, test = load_prompts(settings.data, settings.test)
    reward = load_reward(settings, tokenizer, place)
    some = train[:STANDARD]
    reward.standardise(some, written(before, tokenizer, some, place, settings.seed, settings.max_new_tokens)[0])
    config = ppo_config(settings, prepared.rate)
    data = hashlib.sha256(repr(train).encode()).hexdigest()
    print(f"ppo: {len(train):,} prompts, {config.rounds} rounds of {config.batch_size} answers, into {run.path}")
    print(f"policy: {prepared.learns}; reward: {settings.reward}")
    if resuming and run.config().get("data") != data:
        raise ValueError(f"{run.path}: the prompts are not those that this run began with; bring them back to resume")
    if not resuming:
        tokenizer.save(run.path / "tokenizer.json")
        run.save_config(
            stage="ppo",
            model=describe(policy),
            tokenizer=tokenizer.fingerprint,
            data=data,
            settings=saved_settings(settings),
            base=base_of(source, run, prepared.adapter) if prepared.adapter else None,
        )
    old = written(before, tokenizer, test, place, settings.seed, settings.max_new_tokens)[0]

    def evaluate(model: nn.Module) -> dict:
        """The true score of fresh answers, where it is known."""
        scores = true_scores(
            test[:WATCHED], written(model, tokenizer, test[:WATCHED], place, 1, settings.max_new_tokens)[0]
        )
        return {"true_score": sum(scores) / len(scores)} if scores else {}

    kind = PPO if settings.algorithm == "ppo" else GRPO
    resume = resuming and run.last_file.exists()
    history = kind(policy, tokenizer, train, reward, config, None, run).train(evaluate, resume, progress=True)
    if history.stopped == "interrupted":
        print(f"stopped; go on with: python train.py ppo --resume --out {run.path}")
        return 130
    finish(settings, run, policy, before, reward, test, old, history, place)
    return 0


def load_prompts(data: Path | None, test: Path | None = None) -> tuple[list[Conversation], list[Conversation]]:
    """Prompts to learn on, and others to compare answers on; the tales' own without `data`."""
    files = (DATA / "prompts_train.jsonl", DATA / "prompts_test.jsonl") if data is None else (data, test)
    train = [asked(record.texts[0]) for record in prompts(files[0])]
    if files[1] is not None:
        return train, [asked(record.texts[0]) for record in prompts(files[1])]
    kept = max(len(train) // 10, 1)
    if len(train) <= kept:
        raise ValueError(f"{data}: holds one prompt, and comparing needs a second; bring more, or --test")
    return train[:-kept], train[-kept:]


def load_reward(settings: PPOSettings, tokenizer: Tokenizer, place: Place) -> Rewards:
    """The reward model. Raises ValueError for a run of another kind, and for one of another vocabulary."""
    run = RunFolder(settings.reward)
    model = load_model(run.path)
    if not isinstance(model, RewardModel):
        raise ValueError(f"{run.path} holds a {type(model).__name__}, and ppo needs a reward model: a run of reward")
    if load_tokenizer(run).fingerprint != tokenizer.fingerprint:
        raise ValueError(
            f"{run.path} reads with another tokenizer than {settings.from_}: train the reward model on that run"
        )
    return Rewards(model, tokenizer, place)


def ppo_config(settings: PPOSettings, rate: float) -> PPOConfig:
    """The settings of the loop. rate: of an adapter, 0 where there is none."""
    kind = PPOConfig if settings.algorithm == "ppo" else GRPOConfig
    own = {field.name for field in fields(kind)} & {field.name for field in fields(settings)}
    config = kind(**{name: getattr(settings, name) for name in own} | ({"learning_rate": rate} if rate else {}))
    return reinforce(config) if settings.algorithm == "reinforce" else config


def finish(settings, run, policy, before, reward, test, old, history, place) -> None:
    """Compare answers before and after, draw what happened, and say how it went."""
    tokenizer = reward.tokenizer
    after, distances = written(policy, tokenizer, test, place, settings.seed, settings.max_new_tokens, before)
    write_answers(run, test, after, old)
    scores = compared(test, after, old, distances) | {"reward": float(reward(test, after).mean())}
    with picture(run.path / "ppo.png", (2, 4), figsize=(10, 4.2)) as axes:
        rounds({settings.algorithm: history}, axes)
    metrics = write_metrics(
        run, "ppo", policy, history, place, val_loss=None, bigram_loss=None, floor=None, **scores
    )  # fmt: skip
    shown = {name: value for name, value in scores.items() if isinstance(value, float)}
    print(", ".join(f"{name} {value:.3f}" for name, value in shown.items()) + f"; {metrics['seconds']:.0f} seconds")
    print(f"{run.path}/samples.txt: answers before and after; {run.path}/ppo.png: how it went")
