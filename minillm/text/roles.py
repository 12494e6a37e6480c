"""Which ids of a tokenizer do what: begin and end a text, pad, mask, separate.

A tokenizer of other people that lacks one takes the nearest in meaning: what pads is then what ends a text, what begins
one too; what stands for a whole text is what begins one; what separates two is what ends one. Nothing can stand for a
hidden token, so `mask` may be None, and masking is refused.
"""

from typing import NamedTuple

from minillm.text.gpt2_files import END_OF_TEXT

WORDS = ("template", "chat_template")  # of a saved tokenizer: what decides no encoding


class Roles(NamedTuple):
    """Single ids; those that end what a model writes; those that stand before and behind every text.

    `template` names a chat template that we know, `chat_template` is the text of the one that came with the model.
    """

    bos: int
    eos: int
    pad: int
    cls: int
    sep: int
    mask: int | None
    stop: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    template: str | None = None
    chat_template: str | None = None
    own: bool = False

    @property
    def single(self) -> tuple[int | None, ...]:
        """bos, eos, pad, cls, sep, mask."""
        return self[:6]

    def record(self) -> dict:
        """What decides how a text is encoded; nothing of our own, whose names say it."""
        names = [name for name in self._fields if name not in (*WORDS, "own")]
        return {} if self.own else {"roles": {name: getattr(self, name) for name in names}}

    @classmethod
    def read(cls, written: dict | None, words: dict) -> "Roles | None":
        """Undo `record`; None for our own."""
        if written is None:
            return None
        theirs = {name: tuple(ids) if isinstance(ids, list) else ids for name, ids in written.items()}
        return cls(**theirs, **words)


def own_roles(specials: dict[str, int]) -> Roles:
    """The roles of our own special tokens, and of GPT-2's, whose one token both begins and ends a text."""
    bos, eos = (specials[END_OF_TEXT if END_OF_TEXT in specials else name] for name in ("<|bos|>", "<|eos|>"))
    others = (specials[name] for name in ("<|pad|>", "<|cls|>", "<|sep|>", "<|mask|>"))
    return Roles(bos, eos, *others, (eos,), (bos,), (), "minillm", own=True)


def nearest_roles(
    bos: int | None, eos: int | None, pad: int | None, cls: int | None, sep: int | None, mask: int | None, **more
) -> Roles:
    """Roles of which some are missing: each takes the nearest in meaning.

    Args: more: stop, begin, end, template and chat_template, as of `Roles`.
    Raises: ValueError where there is nothing that could begin or end a text.
    """
    ends = next((i for i in (eos, sep, bos, cls) if i is not None), None)
    if ends is None:
        raise ValueError("no token begins or ends a text (bos_token, eos_token, cls_token or sep_token)")
    begins = next((i for i in (bos, cls, ends) if i is not None), ends)
    pad, cls = ends if pad is None else pad, begins if cls is None else cls
    return Roles(begins, ends, pad, cls, ends if sep is None else sep, mask, **more)
