"""The parts of a tokenizer.json, checked before they are used: a value of another kind than expected is named."""

from minillm.system import is_kind, shown

KINDS = {str: "a text", bool: "true or false", int: "a whole number", dict: "an object", list: "a list"}
FIELDS: dict[str, dict[str, type]] = {  # of parts, by type; those with a question mark may be missing or null
    "BertNormalizer": {"clean_text?": bool, "handle_chinese_chars?": bool, "strip_accents?": bool, "lowercase?": bool},
    "ByteLevel": {"add_prefix_space?": bool, "use_regex?": bool},
    "Digits": {"individual_digits?": bool},
    "Metaspace": {"replacement": str, "prepend_scheme?": str, "add_prefix_space?": bool, "split?": bool},
    "Prepend": {"prepend": str},
    "Punctuation": {"behavior?": str},
    "Replace": {"pattern": dict, "content": str},
    "Split": {"pattern": dict, "behavior": str, "invert?": bool},
    "WordPiece": {"prefix": str, "cleanup?": bool},
}
STRIPS = {
    "normalizer": {"strip_left": bool, "strip_right": bool},
    "decoder": {"content": str, "start": int, "stop": int},
}
LISTS = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "decoder": "decoders"}  # of a Sequence
MODELS = {
    "BPE": {"vocab": dict, "merges": list, "unk_token?": str, "ignore_merges?": bool, "fuse_unk?": bool}
    | {"byte_fallback?": bool},
    "WordPiece": {"vocab": dict, "unk_token": str, "continuing_subword_prefix": str, "max_input_chars_per_word": int},
}
ADDED = {"id": int, "content": str} | dict.fromkeys(
    ("special?", "lstrip?", "rstrip?", "single_word?", "normalized?"), bool
)
BEHAVIORS = ("Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext")
SCHEMES = ("always", "first", "never", None)


def check(entry, fields: dict[str, type], where: str) -> None:
    """Raises: ValueError where an object lacks a field, or has one of another kind."""
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected an object, found {shown(entry)}")
    for name, kind in fields.items():
        value = entry.get(name.rstrip("?"))
        if not (value is None and name[-1] == "?") and not is_kind(value, kind):
            raise ValueError(f'{where}: expected "{name.rstrip("?")}" to be {KINDS[kind]}, found {shown(value)}')


def check_part(part: dict | None, where: str) -> None:
    """Check a normalizer, a pre_tokenizer or a decoder, and the parts of a sequence.

    Raises: ValueError that names the part and the field.
    """
    if part is None:
        return
    check(part, {"type": str}, where)
    if part["type"] == "Sequence":
        check(part, {LISTS[where]: list}, where)
        for each in part[LISTS[where]]:
            check(each, {"type": str}, where)
            check_part(each, where)
    check(part, STRIPS.get(where, {}) if part["type"] == "Strip" else FIELDS.get(part["type"], {}), where)
    pattern = part.get("pattern")
    if "pattern" in FIELDS.get(part["type"], {}):
        kind = next(iter(pattern), None)
        if (
            len(pattern) != 1
            or kind not in ("String", "Regex")
            or not isinstance(pattern[kind], str)
            or not pattern[kind]
        ):
            raise ValueError(f'{where}: expected "pattern" to be a String or a Regex, found {shown(pattern)}')
    choices = {"behavior": BEHAVIORS, "prepend_scheme": SCHEMES}
    for name, known in choices.items():
        if name in part and part[name] not in known:
            raise ValueError(f"{where}: {name} is {part[name]!r}, which is not known")
    for name in ("replacement", "content"):
        if part["type"] in ("Metaspace", "Strip") and name in part and len(part[name]) != 1:
            raise ValueError(f"{where}: expected one character as {name}, found {shown(part[name])}")


def check_model(model: dict) -> None:
    """Check a model and its vocabulary. Raises: ValueError that names the field."""
    check(model, {"type": str}, "model")
    if model["type"] not in MODELS:
        raise ValueError(f"model is of the type {model['type']!r}, and only {', '.join(MODELS)} are known")
    check(model, MODELS[model["type"]], "model")
    ids = list(model["vocab"].values())
    if not all(type(i) is int and 0 <= i < 1 << 31 for i in ids) or len(set(ids)) < len(ids):
        raise ValueError("model: the ids of the vocabulary are not different whole numbers")


def check_added(tokens) -> None:
    """Check a list of added tokens. Raises: ValueError that names the field."""
    if not isinstance(tokens, list):
        raise ValueError(f"added_tokens: expected a list, found {shown(tokens)}")
    for token in tokens:
        check(token, ADDED, "added_tokens")
