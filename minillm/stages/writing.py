"""`train.py generate` and `train.py chat`: use a trained model."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from minillm.checkpoint import RunFolder
from minillm.cli import flag
from minillm.device import Place, choose
from minillm.files import write_text
from minillm.generate import TEMPERATURE, TOP_P, write
from minillm.stages.common import Computing, latest_run, load_causal, load_tokenizer
from minillm.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Sampling(Computing):
    """How to choose each token."""

    from_: Path | None = flag(None, "the run whose model writes (default: the newest of pretrain)")
    max_new_tokens: int = flag(0, "tokens after which a text is cut off (0: as many as the model reads)")
    temperature: float = flag(TEMPERATURE, "below 1 plays safe, above 1 takes risks, 0 takes the likeliest token")
    top_k: int = flag(0, "choose among the k likeliest tokens only (0: all)")
    top_p: float = flag(TOP_P, "choose among the likeliest tokens that make up this probability (1: all)")


@dataclass(frozen=True, kw_only=True)
class Generate(Sampling):
    """Settings of `generate`."""

    prompt: str = flag("", "how the text begins; without it the model begins documents of its own")
    n: int = flag(1, "how many texts")
    out: Path | None = flag(None, 'a .jsonl file for the texts, {"prompt", "text"} a line, instead of the screen')


@dataclass(frozen=True, kw_only=True)
class Chat(Sampling):
    """Settings of `chat`."""


def run_generate(settings: Generate, given: dict) -> int:
    """Write texts with the model of a run. "text" is what follows the prompt.

    python train.py generate
    python train.py generate --prompt "One spring morning" --n 5 --temperature 1.2
    python train.py generate --from runs/pretrain --n 200 --out texts.jsonl
    """
    if settings.n < 1:
        raise ValueError(f"--n {settings.n}: ask for at least one text")
    place, run, tokenizer, model = open_model(settings)
    prompt = settings.prompt or start_of(run)
    generator = torch.Generator(place.device).manual_seed(settings.seed)
    texts, batch = [], 64
    for start in tqdm(range(0, settings.n, batch), unit="batch", disable=settings.n <= batch):
        texts += compose(settings, place, model, tokenizer, [prompt] * min(batch, settings.n - start), generator)
    if settings.out is None:
        print("\n\n".join(settings.prompt + text for text in texts))
        return 0
    lines = [json.dumps({"prompt": settings.prompt, "text": text}, ensure_ascii=False) for text in texts]
    write_text(settings.out, "\n".join(lines) + "\n")
    print(f"{len(texts)} texts in {settings.out}")
    return 0


def run_chat(settings: Chat, given: dict) -> int:
    """Write with a model at the keyboard: it continues each line you type, and remembers the ones before.

    An empty line begins anew; Ctrl-D or "quit" ends.
    """
    place, run, tokenizer, model = open_model(settings)
    generator = torch.Generator(place.device).manual_seed(settings.seed)
    print(f"{run.path} continues what you type. An empty line begins anew; Ctrl-D ends.")
    story = ""
    while True:
        try:
            line = input("> ")
        except EOFError:
            print()
            return 0
        if line.strip() == "quit":
            return 0
        story = f"{story} {line}".strip() if line.strip() else ""
        if not story:
            continue
        story = shorten(story, tokenizer, model)
        text = compose(settings, place, model, tokenizer, [story], generator)[0]
        print(text.strip())
        story += text


def open_model(settings: Sampling) -> tuple[Place, RunFolder, Tokenizer, nn.Module]:
    """Everything that writing needs."""
    place = choose(settings.device, settings.dtype)
    run = RunFolder(settings.from_) if settings.from_ else latest_run("pretrain")
    return place, run, load_tokenizer(run), load_causal(run, place.device)


def compose(settings: Sampling, place: Place, model, tokenizer, prompts: list[str], generator) -> list[str]:
    """Texts that follow the prompts."""
    length = settings.max_new_tokens or getattr(model.config, "context", 256)
    sampling = (settings.temperature, settings.top_k, settings.top_p)
    with place.autocast():
        return write(model, tokenizer, prompts, length, *sampling, generator=generator)


def start_of(run: RunFolder) -> str:
    """What a text begins with when nobody says: a new document, or, for a model of one long text, a new line."""
    return "\n" if run.config().get("documents") == "file" else ""


def shorten(story: str, tokenizer: Tokenizer, model: nn.Module) -> str:
    """The end of a story that leaves half of the model's context free."""
    room = getattr(model.config, "context", sys.maxsize) // 2
    ids = tokenizer.encode(story)
    return story if len(ids) <= room else tokenizer.decode(ids[-room:])
