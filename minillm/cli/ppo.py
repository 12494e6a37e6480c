"""`train.py ppo`: a policy that learns from a reward model, or from any of its kin (GRPO, REINFORCE)."""

import hashlib
import itertools
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import nn

from minillm.align import (
    GRPO,
    PPO,
    Conversation,
    ExactReward,
    GRPOConfig,
    PPOConfig,
    RewardModelScorer,
    compare_answers,
    compute_of,
    prompt_ids,
    reinforce,
    rloo,
    sample_answers,
    true_scores,
    write_answers,
)
from minillm.cli.advice import advice, before_alignment, say
from minillm.cli.flags import change, flag, flag_name, flat_values, group
from minillm.cli.life import TrainingCommand, numbers_in
from minillm.cli.memory import check_tokens
from minillm.cli.methods import SELECTIVE, MethodSettings, frozen_dtype, prepare
from minillm.cli.reward import load_answering
from minillm.cli.settings import COMPILE, RECOMPUTE, ChatTemplate, Machine, RunChoice
from minillm.data import Prompt, read_prompts, user_message
from minillm.hub import base_of, load_causal, load_model, load_tokenizer, model_kind, source
from minillm.models import RewardModel
from minillm.peft import AdapterRun, bare
from minillm.report import picture, rounds
from minillm.system import Compute, pick_device
from minillm.tales import data_file, make_puzzles, solve
from minillm.text import Tokenizer, keep_good
from minillm.training import WEIGHINGS, History, named_or_latest

ALGORITHMS = ("ppo", "grpo", "reinforce", "rloo")
EXACT = "exact"  # --reward exact: a program checks the answers
PUZZLES = 4000  # to learn on, where nobody brings any
STANDARD = 200  # answers by which rewards are put to mean 0 and deviation 1
SCALE = ("reward_mean", "reward_deviation")  # of the raw rewards, in config.json: what makes them 0 and 1
WATCHED = 60  # prompts that are answered at each evaluation


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
    chat: ChatTemplate = group(ChatTemplate)
    run: RunChoice = group(RunChoice)
    machine: Machine = group(Machine)


class RLHF(TrainingCommand):
    """Let a model learn from a reward model: it answers, is rewarded, and moves a little, near to what it was.

    python train.py ppo                                  the newest runs of letters and reward
    python train.py ppo --method lora                    one trunk is policy and reference
    python train.py ppo --algorithm grpo --target-kl 6
    python train.py ppo --data prompts.jsonl             your prompts: {"prompt"}
    python train.py ppo --algorithm grpo --reward exact --from runs/puzzles

    With --reward exact no reward model takes part: the prompts are puzzles, whose answers a program verifies, 1 for a
    right one, else 0; the model must have been taught such answers by sft (`tales.make_puzzle_instructions`).
    """

    name = "ppo"
    unit = "answer tokens"
    other_data = "the prompts are not those that this run began with; bring them back to resume"

    @classmethod
    def complete(cls, settings: PPOSettings, given: dict) -> PPOSettings:
        exact = is_exact(settings.reward)
        judge = settings.reward if exact else named_or_latest(settings.reward, "reward", flag="--reward").path
        origin = named_or_latest(settings.from_, *(("sft",) if exact else ("letters", "sft")))
        settings = change(settings, from_=origin.path, reward=judge)
        check_useless_flags(settings, given)
        return settings

    def read(self) -> None:
        settings, training = self.settings, self.settings.training
        self.compute = compute_of(settings.machine)
        origin = source(settings.from_, settings.chat.template)
        dtype = frozen_dtype(origin, settings.method, self.compute)
        self.tokenizer, self.before = load_answering(origin, self.compute.device, dtype)
        self.prepared = prepare(
            load_causal(origin, dtype=dtype), settings.method, self.tokenizer, settings.machine.seed
        )
        self.model = self.prepared.model
        if self.prepared.adapter:
            self.run = AdapterRun(self.run.path, self.prepared.adapter)
        self.config = ppo_config(training, settings.machine, self.prepared.rate)
        longest = min(training.max_new_tokens, getattr(self.model.config, "context", training.max_new_tokens))
        check_tokens(self.compute, self.model, training.batch_size, longest)
        self.exact = is_exact(settings.reward)
        self.reward = ExactReward() if self.exact else load_reward(settings, self.tokenizer, self.compute)
        context = min(self.model.config.context, self.reward.context)
        puzzles = puzzle_prompts(settings.machine.seed) if self.exact and settings.data is None else None
        self.prompts, self.test = puzzles or load_prompts(settings.data, settings.test, self.tokenizer, context)
        if self.exact:
            check_puzzles([*self.prompts, *self.test])

    def build(self) -> None:
        """Nothing more: prompts are checked by the models that are to read them."""

    def example_batch(self) -> dict:
        return self.tokenizer.pad(prompt_ids(self.tokenizer, self.prompts[:1], self.model.config.context), side="left")

    def sampled(self, model: nn.Module, prompts: list[Conversation], seed: int, *reference: nn.Module) -> tuple:
        """Answers of a model to prompts, and their distances from a reference."""
        length = self.settings.training.max_new_tokens
        return sample_answers(model, self.tokenizer, prompts, self.compute, seed, length, *reference)

    def prepare(self) -> None:
        if self.resuming:
            self.reward.mean, self.reward.deviation = (self.run.config()[name] for name in SCALE)
        else:
            some = list(itertools.islice(itertools.cycle(self.prompts), STANDARD))
            self.reward.standardise(some, self.sampled(self.before, some, self.settings.machine.seed)[0])
        kind = PPO if self.settings.training.algorithm == "ppo" else GRPO
        self.loop = kind(self.model, self.tokenizer, self.prompts, self.reward, self.config, None, self.run)

    def announce(self) -> None:
        settings, config, reference = self.settings, self.config, "a frozen copy of the policy"
        algorithm = settings.training.algorithm
        if self.loop.reference is None:
            reference = f"the policy's own trunk, {self.prepared.adapter} switched off"
        print(f"{algorithm}: {len(self.prompts):,} prompts, {config.rounds} rounds of {config.batch_size} answers")
        print(f"policy: {self.prepared.learns}, from {settings.from_}, into {self.run.path}")
        if pick_device(settings.machine.device, settings.machine.dtype).dtype != self.compute.dtype:
            print("in fp32: ppo does not learn in fp16")
        if algorithm == "ppo":
            size = sum(p.numel() for p in self.loop.actor.value.parameters())
            print(f"value: {size:,} parameters on the policy's trunk")
        print(f"reference: {reference}\nreward: {settings.reward}")

    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self.prompts).encode()).hexdigest()

    def more_config(self) -> dict:
        adapter = self.prepared.adapter
        base = base_of(source(self.settings.from_), self.run, adapter) if adapter else None
        return {"base": base, **dict(zip(SCALE, (self.reward.mean, self.reward.deviation)))}

    def learn(self, resume: bool) -> History:
        self.old = self.sampled(self.before, self.test, self.settings.machine.seed)[0]
        return self.loop.train(self.watch, resume, progress=True)

    def watch(self, model: nn.Module) -> dict:
        """The true score of fresh answers, where it is known; the share that is right, where a program can tell."""
        if self.exact:
            answers = self.sampled(model, self.test[:WATCHED], 1)[0]
            return {"right": float(self.reward(self.test[:WATCHED], answers).mean())}
        scores = true_scores(self.test[:WATCHED], self.sampled(model, self.test[:WATCHED], 1)[0])
        return {"true_score": sum(scores) / len(scores)} if scores else {}

    def report(self, history: History) -> None:
        """Compare answers before and after, draw what happened, and say how it went."""
        after, distances = self.sampled(self.model, self.test, self.settings.machine.seed, self.before)
        write_answers(self.run, self.test, after, self.old)
        scores = compare_answers(self.test, after, self.old, distances)
        scores |= {"reward": float(self.reward(self.test, after).mean())}
        scores |= {"reward_before": float(self.reward(self.test, self.old).mean())} if self.exact else {}
        with picture(self.run.path / "ppo.png", (2, 4), figsize=(10, 4.2)) as axes:
            rounds({self.settings.training.algorithm: history}, axes)
        metrics = self.write_metrics(history, val_loss=None, bigram_loss=None, floor=None, **scores)
        print(f"{numbers_in(scores)}; {metrics['seconds']:.0f} seconds")
        print(f"{self.run.path}/samples.txt: answers before and after; {self.run.path}/ppo.png: how it went")
        say(advice(scores=scores, baselines=before_alignment(scores), names=["true_score"]))


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


def is_exact(reward: Path | None) -> bool:
    """Whether --reward names no run but the program that checks."""
    return reward is not None and reward.name == EXACT and not reward.exists()


def puzzle_prompts(seed: int) -> tuple[list[Conversation], list[Conversation]]:
    """Puzzles to learn on, and STANDARD others to compare answers on."""
    test = [puzzle.prompt for puzzle in make_puzzles(STANDARD, 2 * seed + 1)]
    train = [puzzle.prompt for puzzle in make_puzzles(PUZZLES, 2 * seed) if puzzle.prompt not in test]
    return [*map(user_message, train)], [*map(user_message, test)]


def check_puzzles(prompts: list[Conversation]) -> None:
    """Raises: ValueError for a prompt whose answers no program can check."""
    for prompt in prompts:
        try:
            solve(prompt[-1]["content"])
        except ValueError as error:
            raise ValueError(f"--reward exact checks puzzles, and among the prompts is {error}") from None


def load_prompts(
    data: Path | None, test: Path | None, tokenizer: Tokenizer, context: int
) -> tuple[list[Conversation], list[Conversation]]:
    """Prompts to learn on, and others to compare answers on; the tales' own without data.

    One that leaves no room for an answer is left out and said.
    """

    def fitting(record: Prompt) -> Conversation:
        try:
            prompt_ids(tokenizer, [record.messages], context)
        except ValueError as error:
            raise ValueError(f"{record.place}: {error}") from None
        return record.messages

    files = [data, test]
    if data is None:
        if test:
            raise ValueError("--test needs --data: the tales have prompts of their own to compare answers on")
        files = [data_file(f"prompts_{part}.jsonl") for part in ("train", "test")]
    parts = [
        keep_good([(record.line, record) for record in read_prompts(file)], lambda _, record: fitting(record))
        for file in filter(None, files)
    ]
    if len(parts) == 2:
        return parts[0], parts[1]
    train = list({repr(prompt): prompt for prompt in parts[0]}.values())  # each once, to stand on one side
    kept = max(len(train) // 10, 1)
    if len(train) <= kept:
        raise ValueError(f"{data}: holds one prompt, and comparing needs a second; bring more, or --test")
    return train[:-kept], train[-kept:]


def load_reward(settings: PPOSettings, tokenizer: Tokenizer, compute: Compute) -> RewardModelScorer:
    """The reward model. Raises: ValueError for a run of another kind, and for one of another vocabulary."""
    run = source(settings.reward)
    model = load_model(run.path)
    if not isinstance(bare(model), RewardModel):
        raise ValueError(f"{run.path} holds {model_kind(model)}, and ppo needs a reward model: a run of reward")
    if load_tokenizer(run).fingerprint != tokenizer.fingerprint:
        raise ValueError(
            f"{run.path} reads with another tokenizer than {settings.from_}: train the reward model on that run"
        )
    return RewardModelScorer(model, tokenizer, compute)


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
