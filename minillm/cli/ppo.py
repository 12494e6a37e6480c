"""`train.py ppo`: a policy that learns from a reward model, or from any of its kin (GRPO, REINFORCE)."""

import hashlib
import itertools
from dataclasses import dataclass, fields, replace
from pathlib import Path

from torch import nn

from minillm.align import (
    GRPO,
    PPO,
    Conversation,
    GRPOConfig,
    PPOConfig,
    Rewards,
    compare_answers,
    place_of,
    prompt_ids,
    reinforce,
    sample_answers,
    true_scores,
    write_answers,
)
from minillm.cli.common import Learning, latest_run, open_run, saved_settings, write_metrics
from minillm.cli.flags import flag, flag_name
from minillm.cli.methods import SELECTIVE, Method, Prepared, prepare
from minillm.cli.reward import load_answering, start
from minillm.data import asked, read_prompts, show_example
from minillm.hub import base_of, describe, load_causal, load_model, load_tokenizer, model_kind
from minillm.models import RewardModel
from minillm.peft import AdapterRun, bare
from minillm.report import picture, rounds
from minillm.system import Compute, pick_device, seed_everything
from minillm.tales import data_file
from minillm.text import Tokenizer
from minillm.training import RunFolder

ALGORITHMS = ("ppo", "grpo", "reinforce")
STANDARD = 200  # answers by which rewards are put to mean 0 and deviation 1
SCALE = ("reward_mean", "reward_deviation")  # of the raw rewards, in config.json: what makes them 0 and 1
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
    missing_eos_penalty: float = flag(1.0, "deviations of reward that an answer without an end costs")
    group_size: int = flag(GRPOConfig.group_size, "of grpo and reinforce: answers to each prompt")


def run_ppo(settings: PPOSettings, given: dict) -> int:
    """Let a model learn from a reward model: it answers, is rewarded, and moves a little, near to what it was.

    python train.py ppo                                  the newest runs of letters and reward
    python train.py ppo --method lora                    one trunk is policy and reference
    python train.py ppo --algorithm grpo --target-kl 6
    python train.py ppo --data prompts.jsonl             your prompts: {"prompt"}
    """
    if not settings.resume:
        judge = RunFolder(settings.reward) if settings.reward else latest_run("reward")
        settings = replace(settings, from_=start(settings).path, reward=judge.path)
        check_flags(settings, given)
    run, settings, resuming = open_run(settings, given, "ppo")
    compute = place_of(settings)
    seed_everything(settings.seed)
    source = RunFolder(settings.from_)
    tokenizer, before = load_answering(source, compute.device)
    prepared = prepare(load_causal(source), settings, tokenizer, settings.seed)
    run = AdapterRun(run.path, prepared.adapter) if prepared.adapter else run
    policy, config = prepared.model, ppo_config(settings, prepared.rate)
    reward = load_reward(settings, tokenizer, compute)
    train, test = load_prompts(settings, tokenizer, min(policy.config.context, reward.context))
    if settings.show:
        show_example(tokenizer, tokenizer.pad(prompt_ids(tokenizer, train[:1], policy.config.context), side="left"))
        return 0
    if resuming:
        reward.mean, reward.deviation = (run.config()[name] for name in SCALE)
    else:
        some = list(itertools.islice(itertools.cycle(train), STANDARD))
        reward.standardise(
            some, sample_answers(before, tokenizer, some, compute, settings.seed, settings.max_new_tokens)[0]
        )
    loop = (PPO if settings.algorithm == "ppo" else GRPO)(policy, tokenizer, train, reward, config, None, run)
    announce(settings, prepared, loop, len(train), run)
    begin(settings, prepared, tokenizer, train, reward, run, resuming)
    old = sample_answers(before, tokenizer, test, compute, settings.seed, settings.max_new_tokens)[0]

    def evaluate(model: nn.Module) -> dict:
        """The true score of fresh answers, where it is known."""
        scores = true_scores(
            test[:WATCHED], sample_answers(model, tokenizer, test[:WATCHED], compute, 1, settings.max_new_tokens)[0]
        )
        return {"true_score": sum(scores) / len(scores)} if scores else {}

    history = loop.train(evaluate, resuming and run.last_file.exists(), progress=True)
    if history.stopped == "interrupted":
        print(f"stopped; go on with: python train.py ppo --resume --out {run.path}")
        return 130
    finish(settings, run, policy, before, reward, test, old, history, compute)
    return 0


def check_flags(settings: PPOSettings, given: dict) -> None:
    """Raises ValueError for a flag that would change nothing."""
    useless = {
        "adapter_dropout": "in ppo dropout is off, so that a token's ratio begins at 1",
        "layer_decay": "ppo has one rate in all layers",
        "unfreeze": "in ppo all layers learn from the beginning",
    }
    if settings.algorithm == "ppo":
        useless["group_size"] = "ppo has no groups, as --algorithm grpo and reinforce have"
    if settings.algorithm == "reinforce":
        useless |= dict.fromkeys(
            ("epochs", "minibatch_size", "clip_range"), "reinforce takes one step a round, of all answers"
        )
    if settings.method not in SELECTIVE:
        useless["learning_rate"] = f"what --method {settings.method} learns has --adapter-learning-rate"
    for name, reason in useless.items():
        if name in given:
            raise ValueError(f"{flag_name(name)} has no use here: {reason}; leave it out")
    if settings.method == "adalora":
        raise ValueError("--method adalora shares out its ranks over the steps of a loss, and ppo has none: take lora")


def announce(settings: PPOSettings, prepared: Prepared, loop: PPO, prompts: int, run: RunFolder) -> None:
    """Say what is going to happen, and who takes part."""
    config, reference = loop.config, "a frozen copy of the policy"
    if loop.reference is None:
        reference = f"the policy's own trunk, {prepared.adapter} switched off"
    print(f"{settings.algorithm}: {prompts:,} prompts, {config.rounds} rounds of {config.batch_size} answers")
    print(f"policy: {prepared.learns}, from {settings.from_}, into {run.path}")
    if pick_device(settings.device, settings.dtype).dtype != loop.compute.dtype:
        print("in fp32: ppo does not learn in fp16")
    if settings.algorithm == "ppo":
        print(f"value: {sum(p.numel() for p in loop.actor.value.parameters()):,} parameters on the policy's trunk")
    print(f"reference: {reference}\nreward: {settings.reward}")


def begin(
    settings: PPOSettings,
    prepared: Prepared,
    tokenizer: Tokenizer,
    train: list,
    reward: Rewards,
    run: RunFolder,
    resuming: bool,
) -> None:
    """Write what a run folder says from the beginning; of a run that goes on, see that its prompts are the same."""
    data = hashlib.sha256(repr(train).encode()).hexdigest()
    if resuming:
        if run.config().get("data") != data:
            raise ValueError(
                f"{run.path}: the prompts are not those that this run began with; bring them back to resume"
            )
        return
    tokenizer.save(run.path / "tokenizer.json")
    run.save_config(
        stage="ppo",
        model=describe(prepared.model),
        tokenizer=tokenizer.fingerprint,
        data=data,
        settings=saved_settings(settings),
        base=base_of(RunFolder(settings.from_), run, prepared.adapter) if prepared.adapter else None,
        **dict(zip(SCALE, (reward.mean, reward.deviation))),
    )


def load_prompts(
    settings: PPOSettings, tokenizer: Tokenizer, context: int
) -> tuple[list[Conversation], list[Conversation]]:
    """Prompts to learn on, and others to compare answers on; the tales' own without --data. Raises ValueError, with
    file:line, for one that leaves no room for an answer.
    """
    files = (settings.data, settings.test)
    if settings.data is None:
        if settings.test:
            raise ValueError("--test needs --data: the tales have prompts of their own to compare answers on")
        files = (data_file("prompts_train.jsonl"), data_file("prompts_test.jsonl"))
    parts = []
    for file in filter(None, files):
        parts.append([])
        for record in read_prompts(file):
            parts[-1].append(asked(record.texts[0]))
            try:
                prompt_ids(tokenizer, parts[-1][-1:], context)
            except ValueError as error:
                raise ValueError(f"{record.place}: {error}") from None
    if len(parts) == 2:
        return parts[0], parts[1]
    train = list({prompt[-1]["content"]: prompt for prompt in parts[0]}.values())  # each once, to stand on one side
    kept = max(len(train) // 10, 1)
    if len(train) <= kept:
        raise ValueError(f"{settings.data}: holds one prompt, and comparing needs a second; bring more, or --test")
    return train[:-kept], train[-kept:]


def load_reward(settings: PPOSettings, tokenizer: Tokenizer, compute: Compute) -> Rewards:
    """The reward model. Raises ValueError for a run of another kind, and for one of another vocabulary."""
    run = RunFolder(settings.reward)
    model = load_model(run.path)
    if not isinstance(bare(model), RewardModel):
        raise ValueError(f"{run.path} holds {model_kind(model)}, and ppo needs a reward model: a run of reward")
    if load_tokenizer(run).fingerprint != tokenizer.fingerprint:
        raise ValueError(
            f"{run.path} reads with another tokenizer than {settings.from_}: train the reward model on that run"
        )
    return Rewards(model, tokenizer, compute)


def ppo_config(settings: PPOSettings, rate: float) -> PPOConfig:
    """The settings of the loop. rate: of an adapter, 0 where there is none."""
    kind = PPOConfig if settings.algorithm == "ppo" else GRPOConfig
    own = {field.name for field in fields(kind)} & {field.name for field in fields(settings)}
    given = {name: getattr(settings, name) for name in own} | ({"learning_rate": rate} if rate else {})
    if settings.algorithm == "reinforce":
        given["minibatch_size"] = settings.batch_size
    config = kind(**given)
    return reinforce(config) if settings.algorithm == "reinforce" else config


def finish(settings, run, policy, before, reward, test, old, history, compute) -> None:
    """Compare answers before and after, draw what happened, and say how it went."""
    tokenizer = reward.tokenizer
    after, distances = sample_answers(policy, tokenizer, test, compute, settings.seed, settings.max_new_tokens, before)
    write_answers(run, test, after, old)
    scores = compare_answers(test, after, old, distances) | {"reward": float(reward(test, after).mean())}
    with picture(run.path / "ppo.png", (2, 4), figsize=(10, 4.2)) as axes:
        rounds({settings.algorithm: history}, axes)
    metrics = write_metrics(
        run, "ppo", policy, history, compute, val_loss=None, bigram_loss=None, floor=None, **scores
    )  # fmt: skip
    shown = {name: value for name, value in scores.items() if isinstance(value, float)}
    print(", ".join(f"{name} {value:.3f}" for name, value in shown.items()) + f"; {metrics['seconds']:.0f} seconds")
    print(f"{run.path}/samples.txt: answers before and after; {run.path}/ppo.png: how it went")
