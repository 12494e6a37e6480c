"""`train.py generate` and `train.py chat`: use a trained model."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from minillm import tales
from minillm.cli.common import Computing, latest_run
from minillm.cli.flags import flag
from minillm.hub import load_causal, load_tokenizer
from minillm.inference import TEMPERATURE, TOP_P, check_sampling, reply, write
from minillm.system import Compute, check_file, pick_device, write_text
from minillm.text import Tokenizer, read_text
from minillm.training import RunFolder

ANSWERING = ("sft", "ppo", "dpo")  # stages whose models answer
SHORTEST_ANSWER = 32  # tokens of the context that are kept free for an answer


@dataclass(frozen=True, kw_only=True)
class Sampling(Computing):
    """How to choose each token."""

    from_: Path | None = flag(None, "the run whose model writes (default: the newest of pretrain; chat prefers sft)")
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

    text: Path | None = flag(None, "a text to talk about; without it, a model tuned on the tales is given a tale")


def run_generate(settings: Generate, given: dict) -> int:
    """Write texts with the model of a run. "text" is what follows the prompt, or, of a run of sft, the answer to it.

    python train.py generate
    python train.py generate --prompt "One spring morning" --n 5 --temperature 1.2
    python train.py generate --from runs/pretrain --n 200 --out texts.jsonl
    """
    if settings.n < 1:
        raise ValueError(f"--n {settings.n}: ask for at least one text")
    if settings.out is not None:
        check_file(settings.out)
    compute, run, tokenizer, model = open_model(settings)
    prompt = settings.prompt or start_of(run)
    if settings.prompt and answers(run):
        prompt = [{"role": "user", "content": settings.prompt}]
    generator = torch.Generator(compute.device).manual_seed(settings.seed)
    texts, batch = [], 64
    for start in tqdm(range(0, settings.n, batch), unit="batch", disable=settings.n <= batch):
        texts += compose(settings, compute, model, tokenizer, [prompt] * min(batch, settings.n - start), generator)
    if settings.out is None:
        print("\n\n".join(text if isinstance(prompt, list) else settings.prompt + text for text in texts))
        return 0
    lines = [json.dumps({"prompt": settings.prompt, "text": text}, ensure_ascii=False) for text in texts]
    write_text(settings.out, "\n".join(lines) + "\n")
    print(f"{len(texts)} texts in {settings.out}")
    return 0


def run_chat(settings: Chat, given: dict) -> int:
    """Talk to a model at the keyboard. One tuned by sft answers; one of pretrain continues what you type.

    python train.py chat                                 the newest run of sft, or of pretrain
    python train.py chat --from runs/sft --text tale.txt

    It remembers what was said. An empty line begins anew; Ctrl-D or "quit" ends.
    """
    if settings.from_ is None:
        settings = replace(settings, from_=latest_run("sft", "pretrain").path)
    compute, run, tokenizer, model = open_model(settings)
    generator = torch.Generator(compute.device).manual_seed(settings.seed)
    if answers(run):
        talk = Dialogue(settings, run, tokenizer, model, compute, generator)
    elif settings.text is not None:
        raise ValueError(f"--text needs a model that answers, and {run.path} holds one that continues: tune it by sft")
    else:
        talk = Story(settings, run, tokenizer, model, compute, generator)
    print(talk.begin())
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            print()
            return 0
        if line == "quit":
            return 0
        print(talk.hear(line) if line else talk.begin())


@dataclass
class Story:
    """A conversation with a model that continues texts."""

    settings: Chat
    run: RunFolder
    tokenizer: Tokenizer
    model: nn.Module
    compute: Compute
    generator: torch.Generator
    text: str = ""

    def begin(self) -> str:
        """Forget what was said; what to tell the user."""
        self.text = ""
        return f"{self.run.path} continues what you type. An empty line begins anew; Ctrl-D ends."

    def hear(self, line: str) -> str:
        """What the model says to a line."""
        self.text = shorten(f"{self.text} {line}".strip(), self.tokenizer, self.model)
        text = compose(self.settings, self.compute, self.model, self.tokenizer, [self.text], self.generator)[0]
        self.text += text
        return text.strip()


class Dialogue(Story):
    """A conversation with a model that answers, about a text where there is one."""

    def begin(self) -> str:
        """Forget what was said, and take up a text; what to tell the user."""
        self.messages: list[dict[str, str]] = []
        said = f"{self.run.path} answers. An empty line begins anew; Ctrl-D ends."
        if self.settings.text is not None:
            self.text = read_text(self.settings.text).strip()
        elif self.run.config()["settings"].get("data") is None:
            seed = int(torch.randint(2**31, (), generator=torch.Generator().manual_seed(self.generator.initial_seed())))
            self.generator.manual_seed(seed)  # another tale next time
            self.text = tales.make_tales(1, seed)[0].text
            said += f' Ask about this tale, such as "Where did {tales.parse(self.text).roles["hero"]["name"]} live?"'
        return f"{said}\n\n{self.text}\n" if self.text else said

    def hear(self, line: str) -> str:
        """What the model answers to a line. The oldest questions are forgotten when the context is full."""
        first = f"{self.text}\n\n{line}" if self.text and not self.messages else line
        self.messages.append({"role": "user", "content": first})
        while not fits(self.messages, self.tokenizer, self.model):
            if len(self.messages) < 3:
                self.messages.clear()
                return "That is longer than the model can read; ask something shorter."
            line = self.messages[2]["content"]
            self.messages[:3] = [{"role": "user", "content": f"{self.text}\n\n{line}" if self.text else line}]
        answer = compose(self.settings, self.compute, self.model, self.tokenizer, [self.messages], self.generator)[0]
        self.messages.append({"role": "assistant", "content": answer.strip() or "..."})
        return answer.strip()


def answers(run: RunFolder) -> bool:
    """Whether the model of a run was taught to answer, in the chat template."""
    return run.config()["stage"] in ANSWERING


def fits(messages: list[dict[str, str]], tokenizer: Tokenizer, model: nn.Module) -> bool:
    """Whether a conversation leaves room for an answer in the model's context."""
    context = getattr(model.config, "context", sys.maxsize)
    return len(tokenizer.apply_chat(messages, reply=True)[0]) + min(SHORTEST_ANSWER, context // 4) <= context


def open_model(settings: Sampling) -> tuple[Compute, RunFolder, Tokenizer, nn.Module]:
    """Everything that writing needs. Raises ValueError for settings that nothing can be drawn with, before any line is
    typed.
    """
    check_sampling(settings.max_new_tokens, settings.temperature, settings.top_k, settings.top_p)
    compute = pick_device(settings.device, settings.dtype)
    run = RunFolder(settings.from_) if settings.from_ else latest_run("pretrain")
    return compute, run, load_tokenizer(run), load_causal(run, compute.device)


def compose(settings: Sampling, compute: Compute, model, tokenizer, prompts: list, generator) -> list[str]:
    """Texts that follow the prompts; answers, where a prompt is a list of messages."""
    length = settings.max_new_tokens or getattr(model.config, "context", 256)
    sampling = (settings.temperature, settings.top_k, settings.top_p)
    use = write if isinstance(prompts[0], str) else reply
    with compute.autocast():
        return use(model, tokenizer, prompts, length, *sampling, generator=generator)


def start_of(run: RunFolder) -> str:
    """What a text begins with when nobody says: a new document, or, for a model of one long text, a new line."""
    return "\n" if run.config().get("documents") == "file" else ""


def shorten(story: str, tokenizer: Tokenizer, model: nn.Module) -> str:
    """The end of a story that leaves half of the model's context free."""
    room = getattr(model.config, "context", sys.maxsize) // 2
    ids = tokenizer.encode(story)
    return story if len(ids) <= room else tokenizer.decode(ids[-room:])
