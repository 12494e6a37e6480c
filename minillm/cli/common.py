"""What the stages share: settings that all of them have, where runs live, text to tokens, the report at the end."""

import hashlib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from minillm import tales
from minillm.cli.flags import flag, flag_name
from minillm.data import IGNORE_INDEX, Tokens, tokenize
from minillm.models import CountBigram
from minillm.system import Compute, write_json
from minillm.tales import load_documents
from minillm.text import Tokenizer, read_documents, read_text, split, split_stream
from minillm.training import History, RunFolder

RUNS = Path("runs")


@dataclass(frozen=True, kw_only=True)
class Computing:
    """Where and how exactly to compute."""

    device: str = flag("auto", "auto, cpu, cuda or mps; auto takes a GPU when there is one")
    dtype: str = flag("auto", "auto, fp32, bf16 or fp16; auto takes the fastest that the device computes well")
    seed: int = flag(0, "of every random choice; one seed on one machine gives the same numbers")


@dataclass(frozen=True, kw_only=True)
class Learning(Computing):
    """What every stage that trains has."""

    show: bool = flag(False, "print one example as the model gets it, token by token, and stop")


@dataclass(frozen=True, kw_only=True)
class TextData:
    """Which text to learn from."""

    data: Path | None = flag(
        None, 'your text: .txt, blank lines between documents, or .jsonl with {"text"}; without it, the tales'
    )
    valid: Path | None = flag(None, "text to measure on; without it a share of --data is kept aside")
    documents: str = flag(
        "blank-line", "what separates the documents of a .txt file; file: nothing does", choices=("blank-line", "file")
    )
    valid_fraction: float = flag(0.1, "share of --data that is kept aside, by document")
    tokenizer: str = flag("bpe", "bpe or characters, trained on the text; gpt2; or the path of a tokenizer.json")
    vocab_size: int = flag(1536, "tokens of a bpe tokenizer, special ones included")


@dataclass
class Corpus:
    """Text on both sides of the split, and what is known of it."""

    train: list[str]
    valid: list[str]
    whole: bool  # one long text, cut anywhere
    name: str


def load_corpus(settings: TextData) -> Corpus:
    """Read the user's text, or the tales. Raises ValueError for anything that is no text."""
    if settings.data is None:
        if settings.valid is not None:
            raise ValueError("--valid needs --data: the tales have a validation text of their own")
        return Corpus(load_documents("tales_train.txt"), load_documents("tales_valid.txt"), False, "tales")
    whole = settings.documents == "file"
    name = str(settings.data)
    if settings.valid is not None:
        mode = settings.documents
        return Corpus(read_documents(settings.data, mode), read_documents(settings.valid, mode), whole, name)
    if whole:
        train, valid = split_stream(read_text(settings.data), settings.valid_fraction)
        return Corpus([train], [valid], True, name)
    documents = read_documents(settings.data)
    if len(documents) < 2:
        raise ValueError(
            f"{settings.data}: holds one document, and measuring needs a second: separate documents by blank lines, "
            "give --valid, or use --documents file, which keeps the end of the text aside"
        )
    train, valid = split(documents, settings.valid_fraction, settings.seed)
    return Corpus(train, valid, False, name)


def make_tokenizer(settings: TextData, corpus: Corpus) -> Tokenizer:
    """The tokenizer that --tokenizer names, trained on the training text. (Characters are taken from all of it.)"""
    if settings.tokenizer == "bpe":
        return Tokenizer.train(corpus.train, settings.vocab_size)
    if settings.tokenizer == "characters":
        return Tokenizer.characters(corpus.train + corpus.valid)
    if Path(settings.tokenizer).suffix == ".json":
        return Tokenizer.load(settings.tokenizer)
    return Tokenizer.from_tiktoken(settings.tokenizer)


def tokenize_both(corpus: Corpus, tokenizer: Tokenizer) -> tuple[Tokens, Tokens]:
    """Training and validation tokens."""
    return tokenize(corpus.train, tokenizer, corpus.whole), tokenize(corpus.valid, tokenizer, corpus.whole)


def targets(tokens: Tokens) -> torch.Tensor:
    """The token that follows each but the last, IGNORE_INDEX where it is not predicted: (N - 1,)."""
    after = tokens.ids[1:].long()
    return after if tokens.bos_id is None else after.masked_fill(after == tokens.bos_id, IGNORE_INDEX)


def bigram_loss(train: Tokens, valid: Tokens, vocab_size: int) -> float:
    """Nats per validation token of the counted bigram of the training text."""
    model = CountBigram(train.ids, vocab_size, targets=targets(train))
    after = targets(valid)
    real = after != IGNORE_INDEX
    return -model.logprobs(valid.ids[:-1].long()[real], after[real]).double().mean().item()


def floor(documents: list[str], valid: Tokens) -> float | None:
    """The exact entropy of the tales in nats per token: no model can do better. None for any other text."""
    total = 0.0
    for document in documents:
        logprob = tales.logprob(document)
        if logprob == -float("inf"):
            return None
        total -= logprob
    return total / int((targets(valid) != IGNORE_INDEX).sum())


def fingerprint(tokens: Tokens) -> str:
    """A checksum of a corpus, by which a resumed run knows its text again."""
    return hashlib.sha256(tokens.ids.numpy().tobytes()).hexdigest()


def text_fingerprint(documents: list[str]) -> str:
    """A checksum of documents."""
    return hashlib.sha256("\0".join(documents).encode()).hexdigest()


def check_folder(out: Path) -> None:
    """Raises ValueError for a path that is a file, or within one: it cannot become a folder."""
    for path in (out, *out.parents):
        if path.exists() and not path.is_dir():
            raise ValueError(f"--out {out}: {'this' if path == out else path} is a file; name a folder")


def new_run(out: Path | None, stage: str) -> RunFolder:
    """An empty run folder: the one given, or the first of runs/STAGE, runs/STAGE-2, ... that is free."""
    if out is None:
        names = (RUNS / (stage if n == 1 else f"{stage}-{n}") for n in range(1, 10_000))
        return RunFolder(next(path for path in names if not path.exists()))
    check_folder(out)
    if RunFolder(out).started:
        raise ValueError(f"--out {out} already holds a run; continue it with --resume, or choose another folder")
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"--out {out} is not empty: choose another folder")
    return RunFolder(out)


def check_context(context: int, model: nn.Module, run: RunFolder) -> None:
    """Raises ValueError for a --context that is longer than what the model of a run reads."""
    longest = getattr(model.config, "context", context)
    if context > longest:
        raise ValueError(f"--context {context} is longer than the {longest} of the model in {run.path}")


def latest_run(*stages: str, whole: bool = True) -> RunFolder:
    """The newest run in runs/ of the first of these stages that has one, by the names of their folders. whole: one that
    holds a model already. Raises ValueError when none has.
    """
    for stage in stages:
        runs = [RunFolder(path.parent) for path in RUNS.glob(f"{stage}*/config.json")]
        runs = [run for run in runs if run.holds_model or not whole]
        if runs:
            return max(runs, key=lambda run: (run.path / "config.json").stat().st_mtime)
    how = "sft --task letters" if stages[0] == "letters" else stages[0]
    raise ValueError(
        f"there is no run of {' or '.join(stages)} in {RUNS}/: make one with `python train.py {how}`, or name one"
    )


def open_run(settings: Any, given: dict, stage: str) -> tuple[RunFolder, Any, bool]:
    """The run folder, the settings that hold in it, and whether it is an old one that goes on."""
    if not settings.resume:
        return new_run(settings.out, stage), settings, False
    run = RunFolder(settings.out) if settings.out else latest_run(stage, whole=False)
    own = run.config().get("stage")
    if own != stage:
        raise ValueError(f"{run.path} is a run of {own}, not of {stage}: resume it by `python train.py {own}`")
    saved = same_settings(run.config()["settings"], given, run)
    return run, restore_settings(type(settings), {**saved, "resume": True}), True


def settings_that_hold(settings: Any, given: dict, stage: str) -> Any:
    """The settings, of a run that goes on its own: for what a stage makes of them before its run is opened."""
    if not settings.resume:
        return settings
    run, settings, _ = open_run(settings, given, stage)
    return replace(settings, out=run.path)


def saved_settings(settings: Any) -> dict:
    """The settings as JSON can hold them."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(settings).items()}


def restore_settings(kind: type, saved: dict) -> Any:
    """Settings from what `saved_settings` made of them. Raises ValueError for those of another version of minillm."""
    unknown = sorted(saved.keys() - {field.name for field in fields(kind)})
    if unknown:
        raise ValueError(f"this run has settings of another version of minillm ({', '.join(unknown)}): begin it anew")
    paths = {field.name for field in fields(kind) if "Path" in str(field.type)}
    return kind(**{name: Path(value) if name in paths and value else value for name, value in saved.items()})


def same_settings(saved: dict, given: dict, run: RunFolder) -> dict:
    """The settings to resume with: those of the run, the device aside. Raises ValueError for a flag that says something
    else.
    """
    for name, value in given.items():
        value = str(value) if isinstance(value, Path) else value
        if name not in ("resume", "out", "device") and value != saved.get(name):
            raise ValueError(
                f"--resume goes on with the settings of {run.path}, where {flag_name(name)} is {saved.get(name)}, "
                f"not {value}: leave the flag out"
            )
    return saved | {name: given[name] for name in ("device",) if name in given}


def write_metrics(run: RunFolder, stage: str, model: nn.Module, history: History, compute: Compute, **scores) -> dict:
    """Write metrics.json, which says that the run has ended, and return it."""
    parameters = list(model.parameters())
    metrics = {
        "stage": stage,
        **scores,
        "steps": history.step,
        "tokens": history.tokens,
        "seconds": round(history.seconds, 2),
        "tokens_per_second": round(history.tokens / history.seconds) if history.seconds else None,
        "peak_memory_bytes": compute.peak_memory(),
        "parameters": sum(p.numel() for p in parameters),
        "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "best_step": history.best_step,
        "stopped": history.stopped,
    }
    write_json(run.path / "metrics.json", metrics)
    return metrics
