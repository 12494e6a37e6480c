"""A tokenizer as the fields of a GGUF file: tokens, their types, merges, the ids that have a role, the chat template.

Only byte pairs over bytes are written, and how text is cut into words must be one of the ways that have a name there
(`CUTS`). Left out: characters with scores, WordPiece.
"""

from minillm.hub.gguf_tokenizer import CONTROL, CUTS, KEY, NORMAL, UNUSED, USER
from minillm.hub.write_tokenizer import OWN_TEMPLATE, description_of
from minillm.text import Tokenizer


def tokenizer_fields(tokenizer: Tokenizer) -> dict:
    """The fields of a tokenizer. Raises: ValueError for one that they cannot say."""
    description, roles = description_of(tokenizer), tokenizer.roles
    cuts = _cuts(description)
    ids = dict(zip(("bos", "eos", "pad", "cls", "sep", "mask"), roles.single))
    template = OWN_TEMPLATE if tokenizer.template == "minillm" else roles.chat_template
    fields = byte_pair_fields(description, {role: i for role, i in ids.items() if i is not None}, cuts, template)
    begins, ends = tuple(roles.begin), tuple(roles.end)
    if begins not in ((), (roles.bos,)) or ends not in ((), (roles.eos,)):
        raise ValueError("more stands around a text than a token that begins it and one that ends it")
    return fields | {f"{KEY}add_bos_token": bool(begins), f"{KEY}add_eos_token": bool(ends)}


def _cuts(description: dict) -> str:
    """The name of the way in which text is cut into words."""
    if description["model"]["type"] != "BPE" or description["model"].get("byte_fallback"):
        raise ValueError("a tokenizer that is not made of byte pairs cannot be written as GGUF")
    for name, way in CUTS.items():
        if _steps(way) == _steps(description["pre_tokenizer"]):
            return name
    raise ValueError("the way in which this tokenizer cuts text into words has no name in GGUF")


def _steps(part: dict) -> list[tuple]:
    """What decides how a pre-tokenizer cuts."""
    steps = part["pretokenizers"] if part["type"] == "Sequence" else [part]
    marks = ("type", "pattern", "behavior", "individual_digits", "add_prefix_space", "use_regex")
    return [tuple(step.get(mark) for mark in marks) for step in steps]


def byte_pair_fields(description: dict, ids: dict[str, int], cuts: str, template: str | None = None) -> dict:
    """The fields of a byte-pair tokenizer.

    Args:
        description: what tokenizer.json says of it: model.vocab, model.merges, added_tokens
        ids: of the roles bos, eos, pad, unknown, sep, cls, mask, as far as there are such tokens
        cuts: what tokenizer.ggml.pre calls the way in which text is cut into words
        template: of chats, in Jinja
    """
    added = {entry["id"]: entry for entry in description["added_tokens"]}
    tokens = {i: token for token, i in description["model"]["vocab"].items()}
    tokens |= {i: entry["content"] for i, entry in added.items()}
    size = max(tokens) + 1
    types = {i: CONTROL if entry.get("special") else USER for i, entry in added.items()}
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in description["model"]["merges"]]
    fields = {"model": "gpt2", "pre": cuts, "tokens": [tokens.get(i, f"[PAD{i}]") for i in range(size)]}
    fields |= {"token_type": [types.get(i, NORMAL if i in tokens else UNUSED) for i in range(size)], "merges": merges}
    spelled = {"sep": "seperator", "pad": "padding"}  # the first is theirs
    fields |= {f"{spelled.get(role, role)}_token_id": i for role, i in ids.items()}
    fields = {f"{KEY}{name}": value for name, value in fields.items()}
    return fields | ({"tokenizer.chat_template": template} if template else {})
