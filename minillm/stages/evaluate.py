"""`train.py eval`: score a trained model on text, exactly."""

import json
from dataclasses import dataclass
from pathlib import Path

from minillm.checkpoint import RunFolder
from minillm.cli import flag
from minillm.corpus import read_documents, read_text
from minillm.data import Windows, tokenize
from minillm.device import choose
from minillm.files import write_json
from minillm.metrics import bits_per_byte, bits_per_character, perplexity
from minillm.objectives import causal_lm
from minillm.stages.common import Computing, floor, latest_run, load_causal, load_tokenizer, tale_documents
from minillm.trainer import mean_loss


@dataclass(frozen=True, kw_only=True)
class Evaluate(Computing):
    """Settings of `eval`."""

    from_: Path | None = flag(None, "the run to score (default: the newest of pretrain)")
    data: Path | None = flag(None, "text to score it on, .txt or .jsonl; without it, the tales kept aside")
    documents: str = flag(
        "blank-line", "what separates the documents of a .txt file; file: nothing does", choices=("blank-line", "file")
    )
    context: int = flag(0, "tokens that the model reads at once (0: as many as it can)")
    batch_size: int = flag(16, "windows read together")
    out: Path | None = flag(None, "a .json file for the scores")


def run_evaluate(settings: Evaluate, given: dict) -> int:
    """The exact loss of a model on a text: every token predicted once, from as much of its document as fits.

    python train.py eval
    python train.py eval --from runs/pretrain --data my.txt
    """
    place = choose(settings.device, settings.dtype)
    run = RunFolder(settings.from_) if settings.from_ else latest_run("pretrain")
    tokenizer, model = load_tokenizer(run), load_causal(run, place.device)
    longest = getattr(model.config, "context", 256)
    if settings.context > longest:
        raise ValueError(f"--context {settings.context} is longer than the {longest} of the model in {run.path}")
    whole = settings.documents == "file"
    if settings.data is None:
        documents = tale_documents("tales_valid.txt")
    else:
        documents = [read_text(settings.data)] if whole else read_documents(settings.data)
    tokens = tokenize(documents, tokenizer, whole)
    windows = Windows(tokens, min(settings.context or longest, len(tokens) - 1), settings.batch_size)
    loss = mean_loss(model, causal_lm, windows, place)
    characters = sum(map(len, documents))
    predicted = sum(int((batch["labels"][:, 1:] >= 0).sum()) for batch in windows)
    scores = {
        "loss": loss,
        "perplexity": perplexity(min(loss, 700)),
        "bits_per_character": bits_per_character(loss, predicted, characters),
        "bits_per_byte": bits_per_byte(loss, predicted, sum(len(document.encode()) for document in documents)),
        "floor": None if whole else floor(documents, tokens),
        "tokens": predicted,
        "characters": characters,
    }
    print(json.dumps(scores, indent=2))
    if settings.out is not None:
        write_json(settings.out, scores)
    return 0
