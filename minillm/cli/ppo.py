"""`train.py ppo`: a policy that learns from a reward model, or from any of its kin (GRPO, REINFORCE)."""

import hashlib
import itertools

from torch import nn

from minillm.align import (
    GRPO,
    PPO,
    Conversation,
    ExactReward,
    compare_answers,
    compute_of,
    prompt_ids,
    sample_answers,
    true_scores,
    write_answers,
)
from minillm.cli.advice import advice, before_alignment, say
from minillm.cli.flags import change
from minillm.cli.life import TrainingCommand, numbers_in
from minillm.cli.memory import check_tokens
from minillm.cli.methods import frozen_dtype, prepare
from minillm.cli.ppo_inputs import check_puzzles, load_prompts, load_reward, puzzle_prompts
from minillm.cli.ppo_settings import PPOSettings, check_useless_flags, is_exact, ppo_config
from minillm.cli.rehearsal import Rehearsal, to_keep, with_shares
from minillm.cli.reward import load_answering
from minillm.hub import base_of, load_causal, source
from minillm.peft import AdapterRun
from minillm.report import picture, rounds
from minillm.system import pick_device
from minillm.training import History, named_or_latest

STANDARD = 200  # answers by which rewards are put to mean 0 and deviation 1
SCALE = ("reward_mean", "reward_deviation")  # of the raw rewards, in config.json: what makes them 0 and 1
WATCHED = 60  # prompts that are answered at each evaluation


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
    other_data = "the prompts, or what is rehearsed, are not those that this run began with; bring them back to resume"

    @classmethod
    def complete(cls, settings: PPOSettings, given: dict) -> PPOSettings:
        exact = is_exact(settings.reward)
        judge = settings.reward if exact else named_or_latest(settings.reward, "reward", flag="--reward").path
        origin = named_or_latest(settings.from_, *(("sft",) if exact else ("letters", "sft")))
        settings = change(settings, from_=origin.path, reward=judge)
        check_useless_flags(settings, given)
        if not settings.training.ptx_coef:  # what counts nothing is not read
            settings = change(settings, rehearse=0.0, rehearse_answers=0.0)
        return with_shares(settings, given, letters=False)

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
            self.reward.mean, self.reward.deviation = self.together.share(lambda: self.scale_on(some))
        settings, config = self.settings, self.config
        self.kept = to_keep(settings)
        updates = config.rounds * config.epochs * -(-config.batch_size // config.minibatch_size)
        self.old_texts = Rehearsal(self.kept.of_one_quality(), self, 2 * updates)
        self.old_texts.before = self.old_texts.loss(self.before, self.compute, self.together)
        kind = PPO if settings.training.algorithm == "ppo" else GRPO
        texts = self.old_texts.alone(settings.machine.seed)
        more = (None, self.run, texts, self.together)
        self.loop = kind(self.model, self.tokenizer, self.prompts, self.reward, config, *more)

    def scale_on(self, prompts: list[Conversation]) -> tuple[float, float]:
        """Mean and deviation of the rewards of answers to these prompts before learning."""
        self.reward.standardise(prompts, self.sampled(self.before, prompts, self.settings.machine.seed)[0])
        return self.reward.mean, self.reward.deviation

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
        prompts = hashlib.sha256(repr(self.prompts).encode()).hexdigest()
        return " ".join(filter(None, [prompts, self.old_texts.fingerprint()]))

    def more_config(self) -> dict:
        adapter = self.prepared.adapter
        base = base_of(source(self.settings.from_), self.run, adapter) if adapter else None
        scale = dict(zip(SCALE, (self.reward.mean, self.reward.deviation)))
        return {"base": base, "learned": self.kept.as_json(), **scale}

    def learn(self, resume: bool) -> History:
        if self.together.leads:
            self.old = self.sampled(self.before, self.test, self.settings.machine.seed)[0]
        return self.loop.train(self.watch, resume, progress=self.together.leads)

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
        scores |= self.old_texts.scores(self.model, self.compute)
        with picture(self.run.path / "ppo.png", (2, 4), figsize=(10, 4.2)) as axes:
            rounds({self.settings.training.algorithm: history}, axes)
        metrics = self.write_metrics(history, val_loss=None, bigram_loss=None, floor=None, **scores)
        print(f"{numbers_in(scores)}; {metrics['seconds']:.0f} seconds")
        print(f"{self.run.path}/samples.txt: answers before and after; {self.run.path}/ppo.png: how it went")
        say(advice(scores=scores, baselines=before_alignment(scores), names=["true_score"]))
