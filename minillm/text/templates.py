"""Chat templates of other people's models: a conversation as pieces of text, and which of it the assistant learns.

Models come with a template in Jinja, a language that we do not run. The usual ones are written out here, one function
each; `name_of` knows them by what stands in the Jinja text. What a function yields, joined, is the text that Hugging
Face's library renders. Left out: tools, pictures, and thoughts, but for Qwen 3, which cannot do without. Names of
special tokens in what people say stay plain text: nobody can end a turn but the template, while in that library whoever
writes "<|im_end|>" ends one. Where markup is no token of the tokenizer, as Alpaca's never is, a text can imitate it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple


class Piece(NamedTuple):
    """Part of a rendered conversation. markup: a special token, where the tokenizer has one of that name."""

    text: str
    markup: bool = False
    learned: bool = False


class Names(NamedTuple):
    """How the tokenizer calls what begins and ends a text; `begins`: what it puts before every text, or ""."""

    bos: str
    eos: str
    begins: str = ""


Messages = Sequence[Mapping[str, str]]
Template = Callable[[Messages, bool, Names], Iterator[Piece]]


def chatml(system: str = "") -> Template:
    """OpenAI's ChatML: Qwen, SmolLM2 and many others; with the system's words where a conversation has none."""

    def render(messages: Messages, reply: bool, names: Names) -> Iterator[Piece]:
        if system and messages and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": system}, *messages]
        for message in messages:
            answers = message["role"] == "assistant"
            yield from (Piece("<|im_start|>", True), Piece(message["role"] + "\n"))
            yield from (Piece(message["content"], learned=answers), Piece("<|im_end|>", True, answers), Piece("\n"))
        if reply:
            yield from (Piece("<|im_start|>", True), Piece("assistant\n"))

    return render


def qwen3(messages: Messages, reply: bool, names: Names) -> Iterator[Piece]:
    """Qwen 3, asked to answer at once: an empty thought stands before the answer, and thoughts of earlier turns go."""
    asked = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=-1)
    for place, message in enumerate(messages):
        thought, content, answers = "", message["content"], message["role"] == "assistant"
        if answers and "</think>" in content:
            thought = content.split("</think>")[0].rstrip("\n").split("<think>")[-1].strip("\n")
            content = content.split("</think>")[-1].lstrip("\n")
        yield from (Piece("<|im_start|>", True), Piece(message["role"] + "\n"))
        if answers and place > asked and (thought or place == len(messages) - 1):
            yield from _thought(thought)
            content = content.lstrip("\n")
        yield from (Piece(content, learned=answers), Piece("<|im_end|>", True, answers), Piece("\n"))
    if reply:
        yield from (Piece("<|im_start|>", True), Piece("assistant\n"), *_thought(""))


def _thought(text: str) -> Iterator[Piece]:
    """What was thought before an answer; nothing is given to the model, anything else is learned."""
    known = bool(text)
    yield from (Piece("<think>", True, known), Piece(f"\n{text}\n", learned=known), Piece("</think>", True, known))
    yield Piece("\n\n", learned=known)


def llama3(about: str = "") -> Template:
    """Llama 3; from 3.1 on every conversation has a system's turn, which begins with what the model should know."""

    def head(role: str) -> Iterator[Piece]:
        yield from (Piece("<|start_header_id|>", True), Piece(role), Piece("<|end_header_id|>", True), Piece("\n\n"))

    def render(messages: Messages, reply: bool, names: Names) -> Iterator[Piece]:
        if about:
            system, messages = _system(messages)
            messages = [{"role": "system", "content": about + (system or "").strip()}, *messages]
        yield from [Piece(names.bos, True)] * bool(messages)
        for message in messages:
            answers, content = message["role"] == "assistant", message["content"]
            content = content if about and message["role"] == "system" else content.strip()
            yield from head(message["role"])
            yield from (Piece(content, learned=answers), Piece("<|eot_id|>", True, answers))
        if reply:
            yield from head("assistant")

    return render


def llama2(messages: Messages, reply: bool, names: Names) -> Iterator[Piece]:
    """Llama 2: the system's words stand within the first question, and each question begins a text."""
    system, messages = _system(messages)
    for place, message in enumerate(messages):
        content = message["content"]
        if place == 0 and system is not None:
            content = f"<<SYS>>\n{system}\n<</SYS>>\n\n{content}"
        if message["role"] == "assistant":
            yield from (Piece(f" {content.strip()} ", learned=True), Piece(names.eos, True, True))
        else:
            yield from (Piece(names.bos, True), Piece(f"[INST] {content.strip()} [/INST]"))


def mistral(messages: Messages, reply: bool, names: Names) -> Iterator[Piece]:
    """Mistral. It knows no system: those words stand before the first question."""
    yield Piece(names.bos, True)
    for message in _without_system(messages):
        if message["role"] == "assistant":
            yield from (Piece(message["content"], learned=True), Piece(names.eos, True, True))
        else:
            text = Piece(f" {message['content']} ")
            yield from (Piece("[INST]", True), text, Piece("[/INST]", True))


def gemma(messages: Messages, reply: bool, names: Names) -> Iterator[Piece]:
    """Gemma 2 and 3. They know no system: those words stand before the first question. The assistant is "model"."""
    system, messages = _system(messages)
    yield Piece(names.bos, True)
    for place, message in enumerate(messages):
        answers = message["role"] == "assistant"
        before = f"{system}\n\n" if place == 0 and system is not None else ""
        yield from (Piece("<start_of_turn>", True), Piece("model\n" if answers else f"{message['role']}\n{before}"))
        yield from (Piece(message["content"].strip(), learned=answers), Piece("<end_of_turn>", True, answers))
        yield Piece("\n")
    if reply:
        yield from (Piece("<start_of_turn>", True), Piece("model\n"))


def zephyr(messages: Messages, reply: bool, names: Names) -> Iterator[Piece]:
    """Zephyr and TinyLlama."""
    for message in messages:
        answers = message["role"] == "assistant"
        yield from (Piece(f"<|{message['role']}|>", True), Piece("\n"))
        yield from (Piece(message["content"], learned=answers), Piece(names.eos, True, answers), Piece("\n"))
    if reply:
        yield from (Piece("<|assistant|>", True), Piece("\n"))


TASK = "Below is an instruction that describes a task. Write a response that appropriately completes the request."


def alpaca(messages: Messages, reply: bool, names: Names) -> Iterator[Piece]:
    """Stanford Alpaca's prompt, in plain text, for models without a template."""
    system, messages = _system(messages)
    yield from (Piece(names.begins, True), Piece(f"{TASK if system is None else system}\n\n"))
    for message in messages:
        if message["role"] == "assistant":
            yield Piece("### Response:\n")
            yield from (Piece(message["content"], learned=True), Piece(names.eos, True, True), Piece("\n\n"))
        else:
            yield Piece(f"### Instruction:\n{message['content']}\n\n")
    if reply:
        yield Piece("### Response:\n")


def _system(messages: Messages) -> tuple[str | None, Messages]:
    """The system's words, where a conversation begins with them, and the rest of it."""
    begins = bool(messages) and messages[0]["role"] == "system"
    return (messages[0]["content"], messages[1:]) if begins else (None, messages)


def _without_system(messages: Messages) -> Messages:
    """The same with the system's words at the beginning of the first question."""
    system, rest = _system(messages)
    if system is None or not rest:
        return rest
    return [{**rest[0], "content": f"{system}\n\n{rest[0]['content']}"}, *rest[1:]]


DEFAULTS = {  # what the system says in ChatML when nobody says anything
    "chatml": "",
    "qwen2": "You are a helpful assistant.",
    "qwen2.5": "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    "smollm2": "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
}
LLAMA31 = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"  # the day that the file names
TEMPLATES: dict[str, Template] = {
    **{name: chatml(system) for name, system in DEFAULTS.items()},
    "qwen3": qwen3,
    "llama3": llama3(),
    "llama3.1": llama3(LLAMA31),
    "llama2": llama2,
    "mistral": mistral,
    "gemma": gemma,
    "zephyr": zephyr,
    "alpaca": alpaca,
}
TEMPLATE_NAMES = ("minillm", *TEMPLATES)


def name_of(jinja: str | None, specials: Mapping[str, int]) -> str | None:
    """The name of the template that a text in Jinja is; None for one that is not known.

    Args: specials: the tokenizer's special tokens; a template whose own are not among them is not meant.
    """
    if not isinstance(jinja, str):
        return None
    text = jinja.replace("\\n", "\n").replace('"', "'")
    has = text.__contains__
    if "<|im_start|>" in specials and has("<|im_start|>"):
        said = {*re.findall(r"<\|im_start\|>system\n([^'{}<]+)<\|im_end\|>", text)}
        if has("enable_thinking is false") and has("<think>\n\n</think>\n\n") and not said:
            return "qwen3"
        known = [name for name, system in DEFAULTS.items() if said == {system} - {""}]
        return known[0] if known and not has("<think>") else None
    if "<|start_header_id|>" in specials and has("<|start_header_id|>") and has("<|eot_id|>"):
        return "llama3.1" if has("Cutting Knowledge Date: December 2023") else "llama3"
    if "<start_of_turn>" in specials and has("<start_of_turn>"):
        return "gemma"
    if has("[INST]"):
        joined = re.sub(r"\s*\+\s*", "+", text)
        if has("<<SYS>>"):
            return "llama2" if "'[INST] '+content.strip()+' [/INST]'" in joined else None
        plain = "'[INST] '+message['content']+' [/INST]'" in joined and "{{ message['content']+eos_token" in joined
        return "mistral" if plain else None
    if "<|assistant|>" in specials and "<|bos|>" in specials and has("'<|' + message['role'] + '|>'"):
        return "minillm"
    if has("'<|user|>\n' + message['content'] + eos_token"):
        return "zephyr"
    return "alpaca" if has("### Instruction:\n") and has("### Response:\n") else None
