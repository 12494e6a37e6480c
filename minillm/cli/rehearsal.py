"""Rehearsal: some steps go on learning the text that the model was pre-trained on, so that it does not forget it.

Left out: choosing what to rehearse (it is drawn evenly), and text that the old model generates (pseudorehearsal).
"""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from minillm.cli.flags import flag
from minillm.cli.pretrain import load_corpus
from minillm.cli.settings import TextSource
from minillm.data import Mixed, Padded, Windows, tokenize_once
from minillm.hub import source
from minillm.system import Compute, reading
from minillm.text import Tokenizer
from minillm.training import LossFunction, RunFolder, TrainConfig, mean_loss

ROWS = 4  # windows in a step
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


class OldText(NamedTuple):
    """A text that a model was pre-trained on, and the seed by which a part of it was kept aside."""

    source: TextSource
    seed: int

    def as_json(self) -> dict:
        """For config.json, from where `old_text` reads it."""
        values = {"data": self.source.data, "valid": self.source.valid}
        paths = {name: path and str(Path(path).absolute()) for name, path in values.items()}
        return {**asdict(self.source), **paths, "seed": self.seed}


def old_text(run: RunFolder) -> OldText | None:
    """The text that a run was pre-trained on, by itself or by the run that it began with; None where nobody knows."""
    config = run.config()
    pretrained = config["settings"] if config["stage"] in ("pretrain", "bigram") else None
    settings = pretrained or config.get("text")
    if settings is None:
        return None
    with reading(run.path / "config.json"):
        known = {name: settings[name] for name in ("documents", "valid_fraction")}
        paths = {name: settings[name] and Path(settings[name]) for name in ("data", "valid")}
        return OldText(TextSource(**known, **paths), settings["seed"])


def text_to_keep(settings: Any, given: dict) -> OldText | None:
    """The text that a run is to rehearse. Raises: ValueError for a share that was asked for and cannot be had."""
    share, file = settings.rehearsal.rehearse, settings.rehearsal.rehearse_text
    if not 0 <= share < 1:
        raise ValueError(f"--rehearse {share:g}: a share of the steps lies from 0 to below 1")
    found = old_text(source(settings.from_))
    if file:  # cut as the known text was, since it is mostly the same: what was learned then is not measured on
        own = found or OldText(TextSource(), settings.machine.seed)
        valid = own.source.valid if own.source.valid and own.source.valid.exists() else None
        found = OldText(replace(own.source, data=file, valid=valid), own.seed)
    there = found is not None and all(path is None or path.exists() for path in (found.source.data, found.source.valid))
    if share and ("rehearse" in given or settings.run.resume) and not there:
        which = "is not known" if found is None else f"was {found.source.data}, which is not there"
        raise ValueError(
            f"--rehearse: the text that {settings.from_} was pre-trained on {which}: "
            + ("bring it back to resume" if settings.run.resume else "name it, --rehearse-text")
        )
    if share and found and not there:
        print(f"{found.source.data}, on which {settings.from_} was pre-trained, is not there: it may be forgotten")
    return found if there else None


class Rehearsal:
    """The old text, as batches to learn from and to measure on."""

    def __init__(self, text: OldText, tokenizer: Tokenizer, model: nn.Module, seed: int, file: Callable):
        corpus = load_corpus(text.source, text.seed)
        parts = {"train": corpus.train, "valid": corpus.valid}
        train, valid = (tokenize_once(own, tokenizer, file(part), corpus.whole) for part, own in parts.items())
        if min(len(train), len(valid)) < 2:
            raise ValueError(f"{corpus.name}: the text to rehearse is too short: name more, or leave it, --rehearse 0")
        longest = min(getattr(model.config, "context", LONGEST), LONGEST)
        self.train = Windows(train, min(longest, len(train) - 1), ROWS, seed)
        self.valid = Windows(valid, min(longest, len(valid) - 1), ROWS)

    def fingerprint(self) -> str:
        """A checksum of what is learned, by which a resumed run knows it again."""
        return hashlib.sha256(self.train.tokens.ids.numpy().tobytes()).hexdigest()

    def loss(self, model: nn.Module, objective: LossFunction, compute: Compute) -> float:
        """Nats per token of the old validation text."""
        return mean_loss(model.to(compute.device), objective, self.valid.spread(MEASURED), compute)

    def among(self, batches: Padded, share: float, seed: int) -> Mixed:
        """Batches, of which this share is old text."""
        return Mixed([batches, self.train], [1 - share, share], seed)


def longer(config: TrainConfig, share: float) -> TrainConfig:
    """As many more steps as the old text takes, so that no new example is read less often."""
    more = {name: round(getattr(config, name) / (1 - share)) for name in ("steps", "warmup", "eval_every")}
    return replace(config, **more)
