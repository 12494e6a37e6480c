"""Rehearsal: some steps go on learning what a model learned before, so that it does not forget it.

That is the text of pre-training, and the conversations of earlier instruction tuning; config.json of a run says which
(`Learned`). Left out: choosing what to rehearse (it is drawn evenly), and what the old model generates itself.
"""

import hashlib
import math
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from minillm.cli.corpus import OneDocument, load_corpus
from minillm.cli.flags import change, flag, flag_name
from minillm.cli.opening import as_saved
from minillm.cli.settings import TextSource
from minillm.data import IGNORE_INDEX, Batches, Mixed, Padded, Windows, conversation_example, read_conversations
from minillm.hub import source
from minillm.peft import METHODS, bare, switched_off
from minillm.system import ALONE, Alone, Compute, reading
from minillm.tales import data_file
from minillm.training import (
    LossFunction,
    RunFolder,
    TrainConfig,
    as_sum,
    causal_objective,
    mean_loss,
    prepared,
    preparing,
)  # fmt: skip

ROWS = 4  # windows, or conversations, in a step
MEASURED = 64  # batches of validation text, spread over all of it
LONGEST = 256  # tokens of a window at most


@dataclass(frozen=True, kw_only=True)
class RehearsalSettings:
    """Rehearsal."""

    rehearse: float = flag(
        0.1,
        "share of the steps that go on learning the text of pre-training, so that it is not forgotten; 0 where that "
        "text is not known, and for an adapter, without which the model is what it was",
    )
    rehearse_text: Path | None = flag(None, "that text, .txt or .jsonl (default: what the run was pre-trained on)")
    rehearse_answers: float = flag(0.3, "share of the steps that go on learning the conversations of earlier tuning")


class Learned(NamedTuple):
    """What a model has learned: the text of pre-training and the seed of its split, and conversations by name or file.

    None and (): not known.
    """

    text: TextSource | None = None
    seed: int = 0
    conversations: tuple[str, ...] = ()  # "instructions" or "letters", the tales' own, or the path of a file

    def as_json(self) -> dict:
        """For config.json, from where `learned` reads it."""
        text = self.text and {name: as_saved(value) for name, value in asdict(self.text).items()}
        return {"text": text, "seed": self.seed, "conversations": list(self.conversations)}

    def gone(self) -> "Learned":
        """What of it is in files that are no longer there; the tales' own always are."""
        files = [] if self.text is None else [path for path in (self.text.data, self.text.valid) if path]
        text = None if all(path.exists() for path in files) else self.text
        return self._replace(text=text, conversations=tuple(filter(_is_gone, self.conversations)))

    def of_one_quality(self) -> "Learned":
        """Without the letters, which are good and bad on purpose: who is to prefer the good ones goes on from there."""
        return self._replace(conversations=tuple(name for name in self.conversations if name != "letters"))

    def at_hand(self) -> "Learned":
        """The rest."""
        gone = self.gone()
        there = tuple(name for name in self.conversations if name not in gone.conversations)
        return self._replace(text=None if gone.text else self.text, conversations=there)


def _is_gone(name: str) -> bool:
    return Path(name).is_absolute() and not Path(name).exists()


def learned(run: RunFolder) -> Learned:
    """What the model of a run has learned, in this run and in those before it, as far as config.json says."""
    config = run.config()
    settings, known = config.get("settings") or {}, config.get("learned") or {}
    text = known.get("text") if known or config["stage"] not in ("pretrain", "bigram") else settings
    conversations, seed = known.get("conversations", ()), known.get("seed", settings.get("seed", 0))
    if not known and config["stage"] == "sft":  # of an older version
        conversations = (settings.get("data") or settings.get("task", "instructions"),)
    with reading(run.path / "config.json"):
        if not text:
            return Learned(None, seed, tuple(map(str, conversations)))
        plain = {name: text[name] for name in ("documents", "valid_fraction")}
        paths = {name: text[name] and Path(text[name]) for name in ("data", "valid")}
        return Learned(TextSource(**plain, **paths), seed, tuple(map(str, conversations)))


def to_keep(settings: Any, say: bool = False) -> Learned:
    """What the run that a command begins with has learned, and is at hand.

    A text that is named is cut as the known one was, since it is mostly the same: what was learned is not measured on.
    Raises: ValueError where a run goes on that rehearsed what is gone.
    """
    found, shares, named = learned(source(settings.from_)), settings.rehearsal, settings.rehearsal.rehearse_text
    if named:
        own = found.text or TextSource()
        valid = own.valid if own.valid and own.valid.exists() else None
        seed = found.seed if found.text else settings.machine.seed
        found = found._replace(text=replace(own, data=named, valid=valid), seed=seed)
    gone = found.gone()
    missed = [gone.text.data] if gone.text and shares.rehearse else []
    missed += gone.conversations if shares.rehearse_answers else ()
    if missed and settings.run.resume:
        raise ValueError(f"{missed[0]}, which this run rehearsed, is not there: bring it back to resume")
    for file in missed if say else ():
        print(f"{file}, which {settings.from_} has learned from, is not there: it may be forgotten")
    return found.at_hand()


def with_shares(settings: Any, given: dict, letters: bool = True) -> Any:
    """The settings of a new run with the shares that hold: nothing is rehearsed that is not there.

    Args: letters: whether they may be rehearsed.
    Raises: ValueError for what is no share, and for one that was asked for and cannot be had.
    """
    shares = {name: getattr(settings.rehearsal, name) for name in ("rehearse", "rehearse_answers")}
    if not all(0 <= share < 1 for share in shares.values()) or sum(shares.values()) >= 1:
        raise ValueError("--rehearse and --rehearse-answers: shares of the steps, from 0 up, together less than 1")
    adapter, kept = settings.method.method in METHODS, to_keep(settings, say=True)
    kept = kept if letters else kept.of_one_quality()
    there = {"rehearse": kept.text is not None, "rehearse_answers": bool(kept.conversations)}
    for name, share in shares.items():
        if name in given and share and not there[name]:
            raise ValueError(missing(settings, name))
    useless = [name for name in shares if not there[name] or (adapter and name not in given)]
    return change(settings, **dict.fromkeys(useless, 0.0))


def missing(settings: Any, name: str) -> str:
    """What to say of a share that cannot be had."""
    gone, text = learned(source(settings.from_)).gone(), name == "rehearse"
    files = [gone.text.data] if text and gone.text else [] if text else list(gone.conversations)
    why = f"{files[0]} is not there" if files else f"{settings.from_} does not say which"
    what = "text that it was pre-trained on" if text else "conversations that it was tuned on"
    return f"{flag_name(name)}: the {what} is needed, and {why}{': name it by --rehearse-text' if text else ''}"


class Rehearsal:
    """What is to be kept, as batches to learn from and to measure on; of conversations, so many as are read.

    Args: batches: micro-batches of all steps.
    """

    def __init__(self, kept: Learned, task: Any, batches: int):
        settings, tokenizer, model = task.settings, task.tokenizer, task.model
        self.shares, seed = settings.rehearsal, settings.machine.seed
        self.answers: Padded | None = None
        self.text: Windows | None = None
        self.valid: Windows | None = None
        self.before: float | None = None
        longest = getattr(model.config, "context", LONGEST)
        if kept.text is not None and (self.shares.rehearse or settings.method.method not in METHODS):
            try:
                self.corpus = load_corpus(kept.text, kept.seed)
            except OneDocument:  # where nothing but a text is named, it is read as it comes
                self.corpus = load_corpus(replace(kept.text, documents="file"), kept.seed)

            def windows(part: str, seed: int | None) -> Windows:
                tokens = task.tokens_of(self.corpus, part, tokenizer, f"old_{part}")
                if len(tokens) < 2:
                    raise ValueError(f"{self.corpus.name}: too short to rehearse: name more text, or --rehearse 0")
                return Windows(tokens, min(longest, LONGEST, len(tokens) - 1), ROWS, seed)

            self.valid = windows("valid", None)
            self.text = windows("train", seed) if self.shares.rehearse else None
        if self.shares.rehearse_answers:
            records = [record for name in kept.conversations for record in read_conversations(conversations_file(name))]
            needed = math.ceil(batches / (1 - self.share) * self.shares.rehearse_answers) * ROWS
            order = torch.randperm(len(records), generator=torch.Generator().manual_seed(seed))
            records = [records[i] for i in order[:needed].tolist()]  # no more than are read
            examples = [conversation_example(record, tokenizer, longest) for record in records]
            answered = [one for one in examples if any(label != IGNORE_INDEX for label in one["labels"][1:])]
            self.answers = Padded(answered, tokenizer.pad_id, ROWS, seed, causal=True)

    def fingerprint(self) -> str:
        """A checksum of what is learned again, by which a resumed run knows it; "" for nothing."""
        digest = hashlib.sha256()
        if self.shares.rehearse:
            digest.update(self.corpus.of_tokens(self.text.tokens).encode())
        for group in self.answers.groups if self.answers else ():
            digest.update(repr(group[0]["input_ids"]).encode())
        return digest.hexdigest() if self.share else ""

    @property
    def share(self) -> float:
        """Of the steps, that go on learning what is old."""
        return self.shares.rehearse + self.shares.rehearse_answers

    def loss(self, model: nn.Module, compute: Compute, together: Alone = ALONE) -> float | None:
        """Nats per token of the old validation text; None without one."""
        if self.valid is None:
            return None
        objective = causal_objective(bare(model))
        return mean_loss(model.to(compute.device), objective, self.valid.spread(MEASURED), compute, together)

    def scores(self, model: nn.Module, compute: Compute) -> dict[str, float]:
        """The loss on the old text, and what it was before; nothing where that is not known."""
        if self.before is None:
            return {}
        return {"text_loss": self.loss(model, compute), "text_loss_before": self.before}

    def among(self, batches: Padded, seed: int) -> Mixed | Padded:
        """Batches, of which these shares are old."""
        old = self.old()
        return Mixed([batches, *old], [1 - self.share, *old.values()], seed) if old else batches

    def alone(self, seed: int) -> Mixed | None:
        """Batches of what is old alone; None where nothing is."""
        old = self.old()
        return Mixed([*old], [*old.values()], seed) if old else None

    def old(self) -> dict[Batches, float]:
        """What is learned again, and its share."""
        shares = {self.text: self.shares.rehearse, self.answers: self.shares.rehearse_answers}
        return {source: share for source, share in shares.items() if share}

    def longer(self, config: TrainConfig) -> TrainConfig:
        """As many more steps as what is old takes, so that no new example is read less often."""
        names = ("steps", "warmup", "eval_every")
        return replace(config, **{name: round(getattr(config, name) / (1 - self.share)) for name in names})


class Rehearses:
    """What a `Task` of a language model has besides, if it is to keep what was learned before; stands before `Task`."""

    other_data = "the examples, or what is rehearsed, are not those that this run began with; bring them back to resume"

    def may_rehearse(self, kept: Learned) -> Learned:
        """What of it is to be rehearsed."""
        return kept

    def prepare(self) -> None:
        super().prepare()
        self.kept = to_keep(self.settings)
        self.old = Rehearsal(self.may_rehearse(self.kept), self, self.config.steps * self.config.accumulate)
        with switched_off(self.model, self.adapter) if self.adapter else nullcontext():  # a new prompt is noise
            self.old.before = self.old.loss(self.model, self.compute, self.together)
        self.batches = self.old.among(self.batches, self.settings.machine.seed)
        if self.old.share and self.settings.training.max_steps is None:
            self.config = self.old.longer(self.config)

    def fingerprint(self) -> str:
        return " ".join(filter(None, [super().fingerprint(), self.old.fingerprint()]))

    def more_config(self) -> dict:
        return {**super().more_config(), "learned": self.kept.as_json()}


def beside(objective: LossFunction, key: str, text: LossFunction) -> LossFunction:
    """An objective for batches of both kinds: its own for one that has `key`, `text` for what is rehearsed.

    Of the latter the mean counts, for as many terms as there are rows, so that steps of both kinds weigh the same.
    """

    def prepare(model: nn.Module, batch: dict, steady: bool) -> dict:
        return prepared(objective if key in batch else text, model, batch, steady)

    @preparing(prepare)
    def loss(model: nn.Module, batch: dict) -> tuple[Tensor, Tensor | int]:
        if key in batch:
            return as_sum(objective(model, batch))
        total, terms = as_sum(text(model, batch))
        rows = len(batch["input_ids"])
        return total / max(int(terms), 1) * rows, rows

    return loss


def conversations_file(name: str) -> Path:
    """The file of conversations that a run has learned."""
    return Path(name) if Path(name).is_absolute() else data_file(f"{name}_train.jsonl")
