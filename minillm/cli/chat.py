"""`train.py chat`: a trained model at the keyboard, turn by turn."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from minillm import tales
from minillm.cli.flags import flag, group
from minillm.cli.generate import SamplingSettings, Writer
from minillm.cli.settings import ChatTemplate, Machine
from minillm.hub import source
from minillm.text import Tokenizer, read_text
from minillm.training import knows_template, named_or_latest

SHORTEST_ANSWER = 32  # tokens of the context that are kept free for an answer


@dataclass(frozen=True, kw_only=True)
class ChatSettings:
    """Conversation."""

    from_: Path | None = flag(None, "the run to talk to (default: the newest of sft, else of pretrain)")
    text: Path | None = flag(None, "a text to talk about; without it, a model tuned on the tales is given a tale")
    sampling: SamplingSettings = group(SamplingSettings)
    chat: ChatTemplate = group(ChatTemplate)
    machine: Machine = group(Machine)


def run_chat(settings: ChatSettings, given: dict) -> int:
    """Talk to a model at the keyboard. One tuned by sft answers; one of pretrain continues what you type.

    python train.py chat                                 the newest run of sft, or of pretrain
    python train.py chat --from runs/sft --text tale.txt

    It remembers what was said. An empty line begins anew; Ctrl-D or "quit" ends.
    """
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="surrogateescape")  # a line that is no text is said to be none, and ends nothing
    run = source(named_or_latest(settings.from_, "sft", "pretrain").path, settings.chat.template)
    writer = Writer.open(run, settings.sampling, settings.machine)
    answers = knows_template(writer.run)
    if settings.text is not None and not answers:
        where = f"{writer.run.path} holds one that continues"
        raise ValueError(f"--text needs a model that answers, and {where}: tune it by sft")
    talk = Dialogue(writer, settings.text) if answers else Story(writer)
    print(talk.begin())
    while (line := next_line()) is not None:
        try:
            line.encode()
            growing = Growing() if sys.stdout.isatty() else None
            said = talk.hear(line, growing) if line else talk.begin()
            print("" if growing and growing.begun else said)
        except UnicodeEncodeError:
            print("That line is no UTF-8 text; type it again.")
        except ValueError as error:  # such as a character that the tokenizer does not know
            print(f"That line can not be read: {error}")
    return 0


def next_line() -> str | None:
    """What is typed next; None where it is "quit", or nothing comes any more."""
    if sys.stdin is None or sys.stdin.closed:
        return None
    try:
        line = input("> ").strip()
    except (EOFError, OSError):  # OSError: closed from outside
        print()
        return None
    return None if line == "quit" else line


class Growing:
    """Prints an answer while it grows, without the blanks around it."""

    def __init__(self):
        self.begun, self.held = False, ""

    def __call__(self, piece: str) -> None:
        text = self.held + piece if self.begun else piece.lstrip()
        kept = text.rstrip()
        self.begun, self.held = self.begun or bool(kept), text[len(kept) :]
        print(kept, end="", flush=True)


class Story:
    """A conversation with a model that continues texts."""

    def __init__(self, writer: Writer):
        self.writer, self.text = writer, ""

    def begin(self) -> str:
        """Forget what was said; what to tell the user."""
        self.text = ""
        return f"{self.writer.run.path} continues what you type. An empty line begins anew; Ctrl-D ends."

    def hear(self, line: str, show: Callable[[str], None] | None = None) -> str:
        """What the model says to a line. show: as of `write`."""
        story = shorten(f"{self.text} {line}".strip(), self.writer.tokenizer, self.writer.model)
        text = self.writer.complete([story], show)[0]
        self.text = story + text
        return text.strip()


class Dialogue:
    """A conversation with a model that answers, about a text where there is one."""

    def __init__(self, writer: Writer, file: Path | None):
        self.writer, self.file, self.text = writer, file, ""
        self.messages: list[dict[str, str]] = []

    def begin(self) -> str:
        """Forget what was said, and take up a text; what to tell the user."""
        self.messages = []
        said = f"{self.writer.run.path} answers. An empty line begins anew; Ctrl-D ends."
        if self.file is not None:
            self.text = read_text(self.file).strip()
        elif self.writer.run.config()["settings"].get("data") is None:
            generator = self.writer.generator
            seed = int(torch.randint(2**31, (), generator=torch.Generator().manual_seed(generator.initial_seed())))
            generator.manual_seed(seed)  # another tale next time
            self.text = tales.make_tales(1, seed)[0].text
            said += f' Ask about this tale, such as "Where did {tales.parse(self.text).roles["hero"]["name"]} live?"'
        return f"{said}\n\n{self.text}\n" if self.text else said

    def hear(self, line: str, show: Callable[[str], None] | None = None) -> str:
        """What the model answers to a line. The oldest questions are forgotten when the context is full."""
        messages = [*self.messages, self.question(line, first=not self.messages)]
        while not fits(messages, self.writer.tokenizer, self.writer.model):
            if len(messages) < 3:
                self.messages.clear()
                return "That is longer than the model can read; ask something shorter."
            messages = [self.question(messages[2]["content"], first=True), *messages[3:]]
        answer = self.writer.complete([messages], show)[0]
        self.messages = [*messages, {"role": "assistant", "content": answer.strip() or "..."}]
        return answer.strip()

    def question(self, line: str, first: bool) -> dict[str, str]:
        """A message; the first has the text before it."""
        return {"role": "user", "content": f"{self.text}\n\n{line}" if self.text and first else line}


def fits(messages: list[dict[str, str]], tokenizer: Tokenizer, model: nn.Module) -> bool:
    """Whether a conversation leaves room for an answer in the model's context."""
    context = getattr(model.config, "context", sys.maxsize)
    return len(tokenizer.apply_chat(messages, reply=True)[0]) + min(SHORTEST_ANSWER, context // 4) <= context


def shorten(story: str, tokenizer: Tokenizer, model: nn.Module) -> str:
    """The end of a story that leaves half of the model's context free."""
    room = getattr(model.config, "context", sys.maxsize) // 2
    ids = tokenizer.encode(story)
    return story if len(ids) <= room else tokenizer.decode(ids[-room:])
