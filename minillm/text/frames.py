"""What a chat template puts around each turn, as data: for a page of HTML that writes conversations without Python.

A conversation without a system's words is the pieces of its turns one after another: `first` for the first question,
`user` for every other, `assistant` for an answer, and where one is to come `open`. A piece is ["id", i] for a special
token, ["text", t], ["content", ""] for what somebody says, or ["learned", ""] for what the assistant says, which is
encoded by itself. All other text between two special tokens is encoded in one.
"""

from minillm.text.templates import TEMPLATES, Names

SAID = ("\x01", "\x02", "\x03", "\x04")  # in the place of what is said


def chat_frames(tokenizer) -> dict | None:
    """The frames of a Tokenizer's template; None for one that is not known, or that depends on more than the turns."""
    if tokenizer.template is None:
        return None
    turns = [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 2, SAID)]
    wholes = [_pieces(tokenizer, turns[:n], False) for n in range(5)]
    opened = [_pieces(tokenizer, turns[:n], True) for n in (0, 1, 3)]
    parts = [whole[len(before) :] for before, whole in zip(wholes, wholes[1:])]
    open_ = opened[1][len(wholes[1]) :]
    grows = all(whole[: len(before)] == before for before, whole in zip(wholes, wholes[1:]))
    if not grows or parts[1] != parts[3] or opened[2][len(wholes[3]) :] != open_:
        return None
    begins = parts[1][: len(open_)] == open_  # then an answer is what follows where it was asked for
    return (
        {"first": wholes[1], "user": parts[2], "assistant": parts[1], "open": open_, "opening": opened[0]}
        if begins
        else None
    )


def _pieces(tokenizer, turns: list[dict], reply: bool) -> list[list]:
    """A conversation in pieces, what is said left open."""
    found: list[list] = []
    if tokenizer.template == "minillm":
        found.append(["id", tokenizer.bos_id])
        for turn in turns:
            answers = turn["role"] == "assistant"
            found += [["id", tokenizer.specials[f"<|{turn['role']}|>"]], ["learned" if answers else "content", ""]]
            found += [["id", tokenizer.eos_id]] * answers
        return [*found, ["id", tokenizer.specials["<|assistant|>"]]] if reply else found
    names = {i: name for name, i in tokenizer.specials.items()}
    bos = names[tokenizer.bos_id]
    called = Names(bos, names[tokenizer.eos_id], bos if tokenizer.begin else "")
    for piece in TEMPLATES[tokenizer.template](turns, reply, called):
        if piece.markup and piece.text in tokenizer.specials:
            found.append(["id", tokenizer.specials[piece.text]])
            continue
        before, said, after = piece.text, "", ""
        for text in SAID:
            if text in piece.text:
                before, said, after = piece.text.partition(text)
        found += [["text", before]] if before else []
        found += [["learned" if piece.learned else "content", ""]] if said else []
        found += [["text", after]] if after else []
    return found
