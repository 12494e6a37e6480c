"""RLHF by proximal policy optimisation, simplified (Ouyang et al. 2022; Schulman et al. 2017; Ziegler et al. 2019).

    policy      answers, and learns
    value       a linear layer on the policy's hidden states: the reward still to come, at each token
    reference   the policy as it was, frozen; with an adapter, the same trunk with the adapter switched off
    reward      any function of prompts and answers: a reward model, a rule, the truth

Each round: answers are sampled; each is rewarded at its last token, less beta times the log-ratio to the reference at
every token; advantages come from GAE; the policy takes a few passes over the round with the clipped losses; beta moves
towards a given KL. Simplified: the value shares the policy's trunk, rewards are not whitened (advantages are), nothing
is sampled while learning, one device, no fp16. Dropout is off throughout, so that a token's ratio begins at 1.

Shapes: B answers of a round, T time.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from minillm.align.actor import Actor, as_reference, reference_of
from minillm.align.config import PPOConfig, compute_of
from minillm.align.record import record_of, warn_of_distance
from minillm.align.reward import Reward, rewards_of
from minillm.align.rollout import Conversation, Rollout, answer_logprobs, check_vocabulary, prompt_ids, sample
from minillm.align.shared import of_all, own_rows, sample_together
from minillm.data import Batches
from minillm.system import ALONE, Alone, Compiled, reading
from minillm.text import Tokenizer
from minillm.training import (
    History,
    RunFolder,
    build_optimizer,
    causal_lm,
    following,
    gae,
    kl_estimates,
    masked_mean,
    places,
    ppo_policy_loss,
    ppo_value_loss,
    prepared,
    schedule,
    set_rates,
    whiten,
)


def train_ppo(
    policy: nn.Module,
    tokenizer: Tokenizer,
    prompts: Sequence[Conversation],
    reward: Reward,
    config: PPOConfig,
    evaluate: Callable[[nn.Module], dict] | None = None,
    *,
    reference: nn.Module | None = None,
    texts: Any = None,
    run: RunFolder | None = None,
    resume: bool = False,
    progress: bool = True,
    together: Alone = ALONE,
) -> History:
    """Teach `policy` in place to answer so that `reward` is high and the reference is near; the last weights are kept.

    Args:
        prompts: conversations that end with a user's message; reward: (conversations, answers) -> (B,)
        evaluate: called every `config.evaluate_every` rounds; what it returns is logged
        texts: batches without end, as of `data.Mixed`, that are learned beside, with `config.ptx_coef`, and so kept
        reference: without one, the policy without the adapters that learn, or a copy of it as it is where none does
        run, resume: as for `fit`; given the policy that it began with, a resumed run goes on to the same bits on a CPU
            (a GPU may add numbers up in another order); together: the processes that share each round
    Raises: ValueError for no prompts, prompts that fill the context, a model that reads other tokens and a reference
        that is the policy itself, and FloatingPointError for a reward or a loss that is no number.
    """
    loop = PPO(policy, tokenizer, prompts, reward, config, reference, run, texts, together)
    return loop.train(evaluate, resume, progress)


class PPO:
    """The state of a run, with the arguments of `train_ppo`, and its steps; `round()` is a single one."""

    times = 1  # that each prompt of a round is asked
    by_token = True  # whether a token counts the same in each answer

    def __init__(
        self, policy, tokenizer, prompts, reward, config: PPOConfig, reference=None, run_folder=None, texts=None,
        together: Alone = ALONE,
    ):  # fmt: skip
        check_vocabulary(policy, tokenizer, "policy")
        prompt_ids(tokenizer, prompts, policy.config.context)
        check_vocabulary(policy if reference is None else reference, tokenizer, "reference")
        self.tokenizer, self.prompts, self.reward, self.config = tokenizer, list(prompts), reward, config
        self.compute = compute_of(config)
        self.reference = reference_of(policy, reference)
        self.policy, self.actor = policy, Actor(policy).to(self.compute.device)
        if self.reference is not None:
            self.reference.to(self.compute.device).eval()
        self.run_folder, self.together = run_folder and following(run_folder, together), together
        self.history, self.beta, self.warned = History(), config.kl_coef, False
        self.generator = torch.Generator(self.compute.device).manual_seed(config.seed)
        self.optimizer = together.begin(self.actor, build_optimizer(self.actor, "adamw", config.learning_rate))
        self.loss = Compiled(self.summed) if config.compile else self.summed
        self.texts, self.drawn = (texts if config.ptx_coef else None), None

    def train(self, evaluate: Callable | None = None, resume: bool = False, progress: bool = True) -> History:
        """All rounds, or those that are left, each logged, until the last or an interrupt."""
        history, config = self.history, self.config
        if resume:
            self.restore()
        elif self.run_folder is not None:
            self.run_folder.truncate_log(-1)
        started = self.compute.synchronise() - history.seconds
        bar = tqdm(total=config.rounds, initial=history.step, unit="round", disable=not progress)
        with self.together.interruptible() as interrupted, bar:
            while history.step < config.rounds and not history.stopped:
                record = self.round()
                due = history.step % config.evaluate_every == 0 or history.step == config.rounds
                if evaluate is not None and due:
                    with torch.no_grad(), self.compute.autocast():
                        record |= self.together.share(lambda: evaluate(self.policy))
                history.records.append(record)
                self.warn()
                history.seconds = self.compute.synchronise() - started
                if self.run_folder is not None:
                    self.run_folder.log(record)
                if interrupted.requested:
                    history.stopped = "interrupted"
                if due or history.stopped:
                    self.save()
                bar.update()
                bar.set_postfix_str(f"reward {record['reward']:.2f} KL {record['kl']:.2f}")
        if self.run_folder is not None and not history.stopped:
            self.run_folder.save_model(self.policy)
        self.together.finish(self.policy)
        return history

    def warn(self) -> None:
        """Warn, once, where answers cannot be the policy's own."""
        self.warned = self.warned or warn_of_distance(self.history)

    # One round

    def round(self) -> dict:
        """Sample, reward, learn: what happened, a record for the log."""
        config, history = self.config, self.history
        self.actor.eval()
        set_rates(self.optimizer, history.step, schedule(history.step, config.rounds, 1, "linear", 1.0))
        with self.compute.autocast():  # drawn from the very numbers that it is held to
            asked, pad_id = self.asked(), self.tokenizer.pad_id
            rollout = sample_together(self.together, self.draw, asked, self.generator, pad_id)
        scores = self.scores(rollout)
        old = self.before(rollout)
        advantages, returns = self.advantages(rollout, scores, old)
        updates, answers = [], rollout.bare()
        for _ in range(config.epochs):
            for index in self.minibatches(len(scores)):
                before = {key: t[index] for key, t in old.items()}
                updates.append(self.update(answers.rows(index), before, advantages[index], returns[index]))
        for one in updates:
            self.check(one["grad_norm"])  # on a device not before now
        history.step += 1
        history.tokens += int(rollout.mask.sum())
        kl = float(old["k1"].sum(1).mean())
        if config.target_kl:
            error = min(max(kl / config.target_kl - 1, -0.2), 0.2)  # Ziegler et al. 2019, section 2.2
            self.beta *= 1 + error * len(scores) / config.horizon
        return self.report(rollout, scores, old, returns, updates, kl)

    def report(self, rollout: Rollout, scores: Tensor, old: dict, returns: Tensor, updates: list, kl: float) -> dict:
        """What happened in a round."""
        return {"step": self.history.step, **record_of(rollout, scores, old, returns, updates, kl, self.beta)} | {
            "tokens": self.history.tokens,
            "sample": rollout.answers[0],
        }

    def draw(self, asked: Sequence[Conversation], generator: torch.Generator) -> Rollout:
        """The policy's answers."""
        config = self.config
        return sample(self.policy, self.tokenizer, asked, config.max_new_tokens, config.temperature, generator)

    def asked(self) -> list[Conversation]:
        """The prompts of this round: all of them in a random order, before any comes again."""
        size, number = self.config.batch_size // self.times, len(self.prompts)
        order = Batches(number, size, self.config.seed).order
        places = range(self.history.step * size, (self.history.step + 1) * size)
        chosen = [self.prompts[order(place // number)[place % number]] for place in places]
        return [prompt for prompt in chosen for _ in range(self.times)]

    @torch.no_grad()
    def scores(self, rollout: Rollout) -> Tensor:
        """The reward of each answer, (B,), less what is taken from one that does not end."""
        own = own_rows(self.together, rollout)
        own = rewards_of(self.reward, own.conversations, own.answers).to(self.compute.device)
        scores = of_all(self.together, own, len(rollout.ended))
        return scores - self.config.missing_eos_penalty * (~rollout.ended).float()

    @torch.no_grad()
    def before(self, rollout: Rollout) -> dict[str, Tensor]:
        """Log-probabilities, values, entropies and KL estimates of the answers before learning: each (B, T - 1)."""
        own = own_rows(self.together, rollout)
        with self.compute.autocast():
            found = [*self.actor(own, self.config.temperature)]
            with as_reference(self.policy, self.reference) as reference:
                found.append(answer_logprobs(reference, own, self.config.temperature))
        logprobs, values, entropy, ref_logprobs = (of_all(self.together, one, len(rollout.ended)) for one in found)
        k1, k3 = kl_estimates(logprobs, ref_logprobs)
        return {"logprobs": logprobs, "values": values, "entropy": entropy, "k1": k1, "k3": k3}

    def advantages(self, rollout: Rollout, scores: Tensor, old: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Advantages, how much better each token was than expected, and returns, what was to come: both (B, T - 1)."""
        mask = rollout.mask
        last = mask.size(1) - 1 - mask.flip(1).int().argmax(1)  # (B,), the last token of each answer
        every = torch.arange(len(last), device=last.device)
        penalties = -self.beta * old["k1"]  # Ziegler et al. 2019, equation 2, token by token
        rewards = penalties.index_put((every, last), scores, accumulate=True)
        advantages, returns = gae(rewards, old["values"], mask.float(), self.config.gamma, self.config.lam)
        return whiten(advantages, mask.float()), returns

    def minibatches(self, size: int) -> list[Tensor]:
        """The answers of a round in random order, some at a time."""
        order = torch.randperm(size, generator=self.generator, device=self.compute.device)
        return list(order.split(self.config.minibatch_size))

    def update(self, rollout: Rollout, old: dict[str, Tensor], advantages: Tensor, returns: Tensor) -> dict:
        """One step on some answers."""
        for some in self.together.summing([rollout], self.history.step):
            with self.compute.autocast():
                loss, seen = self.own_loss(some, old, advantages, returns)
                if self.texts is not None:
                    seen["text_loss"] = self.text_loss() / self.together.world  # all of them read the same texts
                    loss = loss + self.config.ptx_coef * seen["text_loss"]
                    seen["text_loss"] = seen["text_loss"].detach()
            loss.backward()
        self.together.agree()
        seen = {name: self.together.sum(value) for name, value in seen.items()}
        learning = [p for p in self.actor.parameters() if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(learning, self.config.max_grad_norm)
        if self.compute.device.type == "cpu":
            self.check(norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {**seen, "grad_norm": norm}

    def own_loss(self, rollout: Rollout, old: dict[str, Tensor], advantages: Tensor, returns: Tensor) -> tuple:
        """`loss` on the answers of this process, and what it is made of, by their shares of all."""
        rows, own = slice(self.together.rank, None, self.together.world), own_rows(self.together, rollout)
        old = {name: value[rows] for name, value in old.items()}
        shares = 1.0, 1.0
        if self.together.world > 1:  # of the tokens, and of the answers
            shares = own.mask.sum() / rollout.mask.sum(), len(own.ended) / len(rollout.ended)
        kept = places(own.labels[:, 1:])
        loss, seen = self.loss(own.bare(), kept, old, advantages[rows], returns[rows], *shares)
        return loss, {name: value * shares[0] for name, value in seen.items()}

    def text_loss(self) -> Tensor:
        """The mean loss on the next texts that were learned before (Ouyang et al. 2022, equation 2, "PPO-ptx")."""
        self.drawn = self.drawn or self.texts.forever()
        batch = prepared(causal_lm, self.policy, next(self.drawn))
        total, terms = causal_lm(self.policy, self.compute.to_device(batch))
        return total / terms

    def summed(self, rollout, kept, old: dict, advantages: Tensor, returns: Tensor, share=1.0, rows=1.0) -> tuple:
        """The loss of some answers, and what it is made of. share, rows: of the tokens and answers that learn now."""
        config, mask = self.config, rollout.mask.float()
        logprobs, values, entropy = self.actor(rollout, config.temperature, kept)
        with torch.autocast(mask.device.type, enabled=False):
            policy_loss, seen = self.policy_loss(logprobs, old["logprobs"], advantages, mask)
            value_loss, _ = ppo_value_loss(values, old["values"], returns, mask, config.value_clip_range)
            # Schulman et al. 2017, equation 9, with the sign turned
            loss = policy_loss * (share if self.by_token else rows) + share * config.value_coef * value_loss
            loss = loss - share * config.entropy_coef * masked_mean(entropy, mask)
        return loss, {**seen, "policy_loss": policy_loss.detach(), "value_loss": value_loss.detach()}

    def check(self, norm: Tensor) -> None:
        """Raises: FloatingPointError for a gradient that is no number."""
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"the gradient is {float(norm)} in round {self.history.step + 1}: lower the learning rate, or use fp32"
            )

    def policy_loss(self, logprobs: Tensor, old: Tensor, advantages: Tensor, mask: Tensor) -> tuple[Tensor, dict]:
        """The clipped loss of the policy, and its metrics."""
        return ppo_policy_loss(logprobs, old, advantages, mask, self.config.clip_range)

    # To go on from

    def save(self) -> None:
        """Write all that resuming needs."""
        if self.run_folder is not None:
            more = {"beta": self.beta, "config": asdict(self.config), "device": self.compute.device.type}
            more["generator"] = self.generator.get_state()
            more |= {} if self.texts is None else {"texts": self.texts.state_dict()}
            self.run_folder.save_training(self.actor, self.optimizer, self.history, **more)

    def restore(self) -> None:
        """Go on from `save`, as if nothing had happened."""
        state = self.run_folder.load_training()
        free = {"device": "", "compile": False}  # what may be another
        if {**state["config"], **free} != {**asdict(self.config), **free}:
            raise ValueError(f"{self.run_folder.path}: this run began with other settings; resume with the same")
        if state["device"] != self.compute.device.type:  # what is drawn at random is not the same there
            raise ValueError(
                f"{self.run_folder.path}: this run began on {state['device']}, and cannot go on on "
                f"{self.compute.device.type}: resume with --device {state['device']}"
            )
        with reading(self.run_folder.last_file):
            self.generator.set_state(state["generator"])
            self.beta = float(state["beta"])
            if self.texts is not None:
                self.texts.load_state_dict(state["texts"])
        self.run_folder.restore(state, self.actor, self.optimizer, self.history)
