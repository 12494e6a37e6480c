"""The training loop: every stage but PPO gives `fit` a model, a loss and batches.

`fit` knows no task. `loss_fn(model, batch)` returns either a mean loss, or the pair (sum, number of terms). Gradient
accumulation over ragged micro-batches needs the pair: a step adds up the sums and divides once, by all its terms.

Taken care of: mixed precision, accumulation, clipping (after unscaling), schedules, evaluation, early stopping, the
best weights beside the last, a checkpoint from which a killed run resumes bit for bit, Ctrl-C, and losses that are not
finite. Left out: curricula, fp8.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from tqdm import tqdm

from minillm.system import ALONE, Alone, Compiled, Timer, pick_device, whole
from minillm.training.feed import Feed
from minillm.training.following import following
from minillm.training.objectives import as_sum
from minillm.training.optim import build_optimizer, optimizer_spec, schedule, set_rates
from minillm.training.preparing import LossFunction, prepared
from minillm.training.runs import RunFolder, unwrap
from minillm.training.states import changing

SMALLEST_SCALE = 2.0**-10  # of a loss in fp16; a gradient that overflows even so is not finite at all
READ = ("loss", "grad_norm", "tokens")  # of a step, what is computed on the device
READ_EVERY = 10  # steps: until then a device is not waited for
LARGEST_FP32 = torch.finfo(torch.float32).max  # rates are multiplied with weights in fp32


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Every stage of train.py turns these into flags."""

    steps: int = 1000
    accumulate: int = 1  # micro-batches in one step
    optimizer: str = "muon"  # a name in `optim.OPTIMIZERS`
    learning_rate: float = 3e-3  # peak rate, of all that has none of the next two
    matrix_learning_rate: float = 0.02  # of the hidden matrices, by Muon
    head_learning_rate: float = 0.0  # of the output layer; 0: as learning_rate
    layer_decay: float = 1.0  # a layer's rates over those of the layer above
    unfreeze: bool = False  # gradual unfreezing: the layers begin to learn one after another, from the output down
    weight_decay: float = 0.0
    warmup: int = 10  # steps
    decay: str = "linear"
    decay_share: float = 0.5  # of the steps, over which a linear decay falls
    clip: float = 1.0  # largest norm of the gradient; 0: no limit
    eval_every: int = 100  # steps
    patience: int = 0  # early stopping: evaluations without a better one; 0: never
    device: str = "auto"
    dtype: str = "auto"
    compile: bool = False
    unit: str = "tokens"  # what the loss counts, for the speed that is shown

    def __post_init__(self):
        optimizer_spec(self.optimizer)
        for name in ("steps", "accumulate", "eval_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        rates = ("learning_rate", "matrix_learning_rate", "head_learning_rate", "weight_decay")
        for name in (*rates, "clip", "warmup", "patience"):
            if not 0 <= getattr(self, name) <= LARGEST_FP32:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be a number from 0 up")
        if not 0 < self.layer_decay <= 10:  # more, layer upon layer, is beyond any number
            raise ValueError(f"layer_decay is {self.layer_decay}: it must be positive, and at most 10")
        if not 0 <= self.decay_share <= 1:
            raise ValueError(f"decay_share is {self.decay_share}: it must lie between 0 and 1")


@dataclass
class History:
    """What happened: `records`, a dictionary for every step, and the totals."""

    records: list[dict] = field(default_factory=list)
    step: int = 0
    tokens: int = 0  # terms of the loss, summed over all steps
    seconds: float = 0.0  # of training and evaluation, over all parts of a resumed run
    best: float = math.inf
    best_step: int = 0
    since_best: int = 0  # evaluations
    stopped: str = ""  # why the run ended early, if it did

    def series(self, key: str) -> tuple[list[int], list[float]]:
        """Steps and values of one quantity, such as "loss" or "val_loss"."""
        rows = [record for record in self.records if key in record]
        return [row["step"] for row in rows], [row[key] for row in rows]


def fit(
    model: nn.Module,
    loss_fn: LossFunction,
    train_batches: Iterable[dict],
    config: TrainConfig,
    evaluate: Callable[[nn.Module], dict | float] | None = None,
    *,
    run: RunFolder | None = None,
    resume: bool = False,
    optimizer: torch.optim.Optimizer | None = None,
    after_step: Callable[[nn.Module, int], None] | None = None,
    progress: bool = True,
    together: Alone = ALONE,
) -> History:
    """Train `model` in place for `config.steps` steps and leave it with its best weights.

    Args:
        train_batches: batches of tensors; a finite iterable is repeated. With `state_dict` and `load_state_dict`, as
            `data.Windows` has, a resumed run goes on at once; else it reads up to that place from the start again
        evaluate: called every `config.eval_every` steps and at the end; returns a loss, or a dictionary with
            "val_loss", by which the best weights are chosen
        run: where checkpoints and the log go; without one nothing is written
        after_step: called with the model and the number of the step after each, while its gradients are still there
        together: the processes that share each step; each is given all batches and `run`, and takes its part of them
    Raises: FloatingPointError when the loss is not finite, ValueError when there is nothing to train or to resume.
    """
    compute, run = pick_device(config.device, config.dtype), run and following(run, together)
    trainer = Trainer(model, loss_fn, train_batches, config, compute, run, optimizer, after_step, together)
    if resume:
        trainer.load_checkpoint()
    elif run is not None:
        run.truncate_log(-1)
    try:
        trainer.train(evaluate, progress)
    finally:
        set_rates(trainer.optimizer, math.inf, 1.0)  # however it ended, gradual unfreezing leaves nothing frozen
    together.finish(model)
    trainer.load_best()
    return trainer.history


class Trainer:
    """A run: the state that a checkpoint must hold, and the steps that change it."""

    def __init__(self, model, loss_fn, batches, config, compute, run, optimizer, after_step, together=ALONE):
        self.model = model = together.placed(model, compute.device)
        self.loss_fn, self.batches, self.after_step, self.together = loss_fn, batches, after_step, together
        self.config, self.compute, self.run_folder = config, compute, run
        rates = (config.learning_rate, config.matrix_learning_rate, config.head_learning_rate, config.weight_decay)
        dtype = torch.bfloat16 if compute.dtype == torch.bfloat16 else torch.float32
        if optimizer is None:
            unfreeze = config.steps * config.unfreeze
            optimizer = build_optimizer(model, config.optimizer, *rates, dtype, config.layer_decay, unfreeze)
        self.optimizer = together.begin(model, optimizer)
        self.scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.dtype == torch.float16)
        self.history, self.best_weights = History(), None
        self.on_cpu = compute.device.type == "cpu"
        self.loss = Compiled(self.summed) if config.compile else self.summed

    def summed(self, model: nn.Module, batch: dict) -> tuple[Tensor, Tensor | int]:
        """The sum of a batch's loss, and its number of terms."""
        return as_sum(self.loss_fn(model, batch))

    def train(self, evaluate: Callable | None, progress: bool) -> None:
        """All the steps that are left."""
        history, config, unread = self.history, self.config, []
        started, timer = self.compute.synchronise() - history.seconds, Timer(history.step, config.unit)
        bar = tqdm(total=config.steps, initial=history.step, unit="step", disable=not progress, mininterval=0.5)
        with self.together.interruptible() as interrupted, bar, self.feed() as feed:  # an error ends the bar's line
            while history.step < config.steps and not history.stopped:
                unread.append(self.step(feed.take(config.accumulate // self.together.world)))
                due = history.step % config.eval_every == 0 or history.step == config.steps
                if not (due or interrupted.requested or self.on_cpu or len(unread) == READ_EVERY):
                    continue
                self.read(unread)
                if evaluate is not None and due:
                    unread[-1] |= self.evaluate(evaluate)
                history.seconds = time.perf_counter() - started
                history.records += unread
                for record in unread if self.run_folder is not None else ():
                    self.run_folder.log(record)
                bar.update(len(unread))
                bar.set_postfix_str(timer.report(unread[-1]))
                if timer.may_announce() and progress:
                    bar.write(timer.announcement(config.steps, self.compute.name))
                unread = []
                history.stopped = history.stopped or ("interrupted" if interrupted.requested else "")
                if due or history.stopped:
                    self.save_checkpoint(feed)

    def feed(self) -> Feed:
        """The batches, from where the run stands."""
        steady = self.config.compile or not self.on_cpu

        def prepare(batch: dict) -> dict:
            return prepared(self.loss_fn, self.model, batch, steady)

        return Feed(self.batches, prepare, self.compute, self.history.step * self.config.accumulate, self.together)

    def step(self, micro_batches: list[dict]) -> dict:
        """One update of the weights. Returns what is logged of it; `read` makes numbers of its tensors."""
        if not micro_batches:
            raise ValueError("no batches to train on, or no more: give a list, or an iterable that can be repeated")
        history, config = self.history, self.config
        share = schedule(history.step, config.steps, config.warmup, config.decay, config.decay_share)
        set_rates(self.optimizer, history.step, share)
        history.step += 1
        norm = None
        while norm is None:  # one whose fp16 gradients overflowed is tried again, at half the scale
            total, terms, divisor = self.backward(micro_batches)
            if self.on_cpu:
                self.check(float(total), history.step)
            norm = self.update(divisor / terms.clamp(min=1))
            if norm is None:
                self.check(float(total), history.step)
        loss = total / terms.clamp(min=1)
        return {"step": history.step, "loss": loss, "grad_norm": norm, "share_of_lr": share, "tokens": terms}

    def backward(self, micro_batches: list[dict]) -> tuple[Tensor, Tensor, Tensor]:
        """Accumulate the gradients of the summed loss / divisor. Returns the sum, its number of terms, and divisor."""
        self.model.train()
        total, terms, divisor = 0.0, 0, None
        for batch in self.together.summing(micro_batches, self.history.step):
            with self.compute.autocast():
                loss, count = self.together.call(self.loss, self.model, batch)
            count = torch.as_tensor(count)
            divisor = self.together.sum(count).clamp(min=1) if divisor is None else divisor  # fp16 stays near a mean
            self.scaler.scale(loss / divisor).backward()
            total, terms = total + self.wide(loss.detach()), terms + count
        return *self.together.totals(total, terms), self.wide(divisor)

    def wide(self, number: Tensor) -> Tensor:
        """A number as exact as the device has it."""
        return number.double() if self.on_cpu else number.float()

    def update(self, weight: Tensor) -> Tensor | None:
        """Multiply the gradients by `weight`, clip them, step. Returns their norm before clipping; None: no step."""
        scale = self.scaler.get_scale()
        self.scaler.unscale_(self.optimizer)
        gradients = self.together.gradients(self.optimizer)
        norm = self.wide(self.together.norm(gradients)) * weight if gradients else 0 * weight
        if self.config.clip:
            weight = weight * (self.config.clip / norm).clamp(max=1)
        if gradients and not (self.on_cpu and weight == 1):
            torch._foreach_mul_(gradients, float(weight) if self.on_cpu else weight)
        self.scaler.step(self.optimizer)  # skips a step whose fp16 gradients overflowed
        self.scaler.update()
        taken = self.scaler.get_scale() >= scale
        if taken and self.after_step is not None:
            self.after_step(unwrap(self.model), self.history.step)
        self.optimizer.zero_grad(set_to_none=True)
        if not taken and scale < SMALLEST_SCALE:
            raise self.not_finite("norm of the gradient", float(norm), self.history.step)
        return norm if taken else None

    def read(self, records: list[dict]) -> None:
        """Make numbers of what stayed on the device, which is waited for once; the first bad loss is an error."""
        found = torch.stack([self.wide(record[key]) for record in records for key in READ]).view(-1, len(READ)).tolist()
        for record, values in zip(records, found):
            record |= zip(READ, values)
            self.check(record["loss"], record["step"])
            self.history.tokens = record["tokens"] = self.history.tokens + int(record["tokens"])

    def check(self, loss: float, step: int) -> None:
        """Raises: FloatingPointError for a loss that is no number."""
        if not math.isfinite(loss):
            raise self.not_finite("loss", loss, step)

    def not_finite(self, what: str, loss: float, step: int) -> FloatingPointError:
        """The error to raise for such a loss: where, what is left, what to do."""
        saved = self.run_folder is not None and self.run_folder.last_file.exists()
        kept = f"; the last good checkpoint is in {self.run_folder.path}" if saved else " before anything was saved"
        return FloatingPointError(
            f"the {what} is {loss} at step {step}: training stopped{kept}. Lower the learning rate, or use --dtype fp32"
        )

    @torch.no_grad()
    def evaluate(self, evaluate: Callable) -> dict:
        """Score the model; keep its weights when they are the best so far."""
        history = self.history
        self.model.eval()
        with self.compute.autocast():
            scores = self.together.call(evaluate, self.model)
        scores = scores if isinstance(scores, dict) else {"val_loss": float(scores)}
        if math.isnan(scores["val_loss"]):  # inf is a loss, the worst
            raise self.not_finite("validation loss", scores["val_loss"], history.step)
        history.since_best += 1
        if scores["val_loss"] < history.best:
            history.best, history.best_step, history.since_best = scores["val_loss"], history.step, 0
            if self.run_folder is None:
                found = changing(self.model, self.optimizer).items()  # of an adapter it alone
                self.best_weights = {name: whole(tensor).cpu().clone() for name, tensor in found}
            else:
                self.run_folder.save_model(self.model)
        if 0 < self.config.patience <= history.since_best:
            history.stopped = f"no better evaluation in {history.since_best}"
        return scores

    def save_checkpoint(self, feed: Feed) -> None:
        """Write all that `load_checkpoint` needs: weights, optimizer, random generators, place in the data, totals."""
        if self.run_folder is None:
            return
        more = {"scaler": self.scaler.state_dict(), "steps": self.config.steps}
        more |= {"batches": feed.state} if feed.has_state else {}
        self.run_folder.save_training(self.model, self.optimizer, self.history, **more)

    def load_checkpoint(self) -> None:
        """Go on from the last `save_checkpoint`, as if nothing had happened."""
        state = self.run_folder.load_training()
        if state["steps"] != self.config.steps:
            raise ValueError(
                f"{self.run_folder.path}: this run was to take {state['steps']} steps, not {self.config.steps}; "
                "the schedule depends on it, so resume with the same number"
            )
        self.run_folder.restore(state, self.model, self.optimizer, self.history)
        self.scaler.load_state_dict(state["scaler"])
        if "batches" in state:
            self.batches.load_state_dict(state["batches"])

    def load_best(self) -> None:
        """Leave the model with its best weights; without evaluations these are the last."""
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights, strict=False)
        elif self.run_folder is not None and self.history.best_step:
            self.run_folder.load_best(unwrap(self.model))
        elif self.run_folder is not None:
            self.run_folder.save_model(self.model)
        self.model.eval()
