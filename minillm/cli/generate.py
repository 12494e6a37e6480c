"""`train.py generate`: texts of a trained model."""

import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from minillm.cli.flags import auto, flag, group
from minillm.cli.settings import ChatTemplate, Machine
from minillm.hub import dtype_of_others, load_causal, load_tokenizer, source
from minillm.inference import TEMPERATURE, TOP_P, captured, check_sampling, reply, write
from minillm.system import Compute, check_file, pick_device, to_json, write_text
from minillm.text import Tokenizer
from minillm.training import RunFolder, knows_template, named_or_latest

TOGETHER = 64  # texts that are generated at once


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """Sampling."""

    max_new_tokens: int | None = auto("tokens after which a text is cut off; auto: as many as the model reads")
    temperature: float = flag(TEMPERATURE, "below 1 plays safe, above 1 takes risks, 0 takes the likeliest token")
    top_k: int = flag(0, "choose among the k likeliest tokens only (0: all)")
    top_p: float = flag(TOP_P, "choose among the likeliest tokens that make up this probability (1: all)")
    min_p: float = flag(0.0, "choose among the tokens that have this share of the likeliest one's probability (0: all)")
    repetition_penalty: float = flag(1.0, "above 1, what stands in the text already becomes less likely")


@dataclass(frozen=True, kw_only=True)
class GenerateSettings:
    """Texts."""

    from_: Path | None = flag(None, "the run whose model generates (default: the newest of pretrain)")
    prompt: str = flag("", "how the text begins; without it the model begins documents of its own")
    n: int = flag(1, "how many texts; they are kept in memory until the last is there", most=1_000_000)
    compile: bool = flag(False, "torch.compile the step of a token; on a GPU it is one CUDA graph. Takes a minute")
    out: Path | None = flag(None, 'a .jsonl file for the texts, {"prompt", "text"} a line, instead of the screen')
    sampling: SamplingSettings = group(SamplingSettings)
    chat: ChatTemplate = group(ChatTemplate)
    machine: Machine = group(Machine)


def compute_of(run: RunFolder, machine: Machine) -> Compute:
    """Where a model is used, and how exactly: in fp32 one of others on a CPU, where nobody says otherwise.

    In bf16 its logits stand 0.125 apart, and the likeliest of close answers would be another on another machine.
    """
    compute = pick_device(machine.device, machine.dtype)
    automatic = machine.dtype == "auto" and not os.environ.get("MINILLM_DTYPE")
    foreign = dtype_of_others(run, compute.dtype) is not None
    return compute._replace(dtype=torch.float32) if automatic and foreign and compute.device.type == "cpu" else compute


@dataclass
class Writer:
    """The model of a run, and how its tokens are chosen."""

    run: RunFolder
    sampling: SamplingSettings
    compute: Compute
    tokenizer: Tokenizer
    model: nn.Module
    generator: torch.Generator

    @classmethod
    def open(cls, run: RunFolder, sampling: SamplingSettings, machine: Machine) -> "Writer":
        """Raises: ValueError for settings that nothing can be sampled with, before anything is loaded."""
        check_sampling(
            *(sampling.max_new_tokens or 0, sampling.temperature, sampling.top_k, sampling.top_p),
            *(sampling.min_p, sampling.repetition_penalty),
        )
        compute = compute_of(run, machine)
        generator = torch.Generator(compute.device).manual_seed(machine.seed)
        model = load_causal(run, compute.device, dtype_of_others(run, compute.dtype))
        return cls(run, sampling, compute, load_tokenizer(run), model, generator)

    def complete(self, prompts: list, show: Callable[[str], None] | None = None) -> list[str]:
        """Texts that follow the prompts; answers, where a prompt is a list of messages. show: as of `write`."""
        length = self.sampling.max_new_tokens or getattr(self.model.config, "context", 256)
        choice = (self.sampling.temperature, self.sampling.top_k, self.sampling.top_p)
        more = {"min_p": self.sampling.min_p, "repetition_penalty": self.sampling.repetition_penalty, "show": show}
        use = write if isinstance(prompts[0], str) else reply
        with self.precision():
            return use(self.model, self.tokenizer, prompts, length, *choice, generator=self.generator, **more)

    def precision(self) -> contextlib.AbstractContextManager:
        """The context in which the model runs: weights that have the precision already need not be cast."""
        cast = any(parameter.dtype != self.compute.dtype for parameter in self.model.parameters())
        return self.compute.autocast() if cast else contextlib.nullcontext()


def run_generate(settings: GenerateSettings, given: dict) -> int:
    """Generate texts with the model of a run. "text" is what follows the prompt, or, of a run of sft, the answer to it.

    python train.py generate
    python train.py generate --prompt "One spring morning" --n 5 --temperature 1.2
    python train.py generate --from runs/pretrain --n 200 --out texts.jsonl
    """
    if settings.n < 1:
        raise ValueError(f"--n {settings.n}: ask for at least one text")
    if settings.out is not None:
        check_file(settings.out)
    run = source(named_or_latest(settings.from_, "pretrain").path, settings.chat.template)
    writer = Writer.open(run, settings.sampling, settings.machine)
    writer.model = captured(writer.model) if settings.compile else writer.model
    prompt = settings.prompt or start_of(writer.run)
    if settings.prompt and knows_template(writer.run):
        prompt = [{"role": "user", "content": settings.prompt}]
    if settings.n == 1 and settings.out is None and sys.stdout.isatty():
        type_out(writer, prompt, "" if isinstance(prompt, list) else settings.prompt)
        return 0
    texts = []
    for start in tqdm(range(0, settings.n, TOGETHER), unit="batch", disable=settings.n <= TOGETHER):
        texts += writer.complete([prompt] * min(TOGETHER, settings.n - start))
    if settings.out is None:
        print("\n\n".join(text if isinstance(prompt, list) else settings.prompt + text for text in texts))
        return 0
    lines = [to_json({"prompt": settings.prompt, "text": text}) for text in texts]
    write_text(settings.out, "\n".join(lines) + "\n")
    print(f"{len(texts)} texts in {settings.out}")
    return 0


def type_out(writer: Writer, prompt: str | list, before: str) -> None:
    """Print a text while it grows, behind what is `before` it."""
    print(before, end="", flush=True)
    writer.complete([prompt], lambda piece: print(piece, end="", flush=True))
    print()


def start_of(run: RunFolder) -> str:
    """What a text begins with when nobody says: a new document, or, for a model of one long text, a new line."""
    return "\n" if run.config().get("documents") == "file" else ""
