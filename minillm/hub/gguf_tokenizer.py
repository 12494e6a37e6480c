"""The tokenizer in a GGUF file's metadata, as a pipeline: byte pairs ("gpt2"), or characters with scores ("llama").

A name says how text is cut into words (`CUTS`), as llama.cpp knows them; another name is refused. Scores say which pair
is merged first, so they are turned into a list of merges, as transformers does with SentencePiece's. Left out: the
models bert, t5 and rwkv.
"""

from minillm.hub.describe import ENDS, around, at_pattern, byte_level, cut
from minillm.hub.tokenizer_json import roles_of
from minillm.text import GPT2_PATTERN, Pipeline, Tokenizer

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)  # types of tokens
KEY = "tokenizer.ggml."

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEFAULT = [r"[\p{P}\$\+<=>\^~\|]+", GPT2_PATTERN.removesuffix(r"|\s+"), r"\p{N}+", "[0-9][0-9][0-9]"]
DIGITS = {"type": "Digits", "individual_digits": True}
CUTS = {
    **dict.fromkeys(("gpt-2", "phi-2", "olmo", "mpt", "jais"), cut()),
    **dict.fromkeys(("smollm", "starcoder", "refact", "codeshell", "command-r"), cut(DIGITS)),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "dbrx", "smaug-bpe"), cut(at_pattern(LLAMA3))),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2"), cut(at_pattern(QWEN2))),
    "tekken": cut(at_pattern(TEKKEN)),
    "default": cut(*map(at_pattern, DEFAULT)),
}
WHOLE_WORDS = (
    "llama3",
    "llama-v3",
    "llama-bpe",
    "tekken",
)  # whose words that are tokens are not merged; they begin with bos
COMPOSED = ("qwen2", "deepseek-r1-qwen")  # whose text is in the normal form C


def tokenizer_from_gguf(metadata: dict) -> Tokenizer:
    """The tokenizer that a GGUF file's metadata describes.

    Args: metadata: the fields of the file, by their names.
    Raises: ValueError that names the field, for what is missing or not known.
    """
    kind, tokens = metadata.get(f"{KEY}model"), metadata.get(f"{KEY}tokens")
    if kind not in ("gpt2", "llama"):
        raise ValueError(f"{KEY}model is {kind!r}, and only 'gpt2' and 'llama' are known")
    types = metadata.get(f"{KEY}token_type") or [NORMAL] * len(tokens or [])
    if not tokens or len(types) != len(tokens) or not all(isinstance(token, str) for token in tokens):
        raise ValueError(f"{KEY}tokens and {KEY}token_type are not a text and a type for each token")
    vocab = {token: i for i, token in enumerate(tokens)}
    if len(vocab) < len(tokens):
        raise ValueError(f"{KEY}tokens holds a token twice")
    description = (_byte_pairs if kind == "gpt2" else _scored)(metadata, vocab, types)
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    description["added_tokens"] = [
        {"id": i, "content": token, **flags, "special": types[i] != USER}
        for token, i in vocab.items()
        if types[i] in (UNKNOWN, CONTROL, USER)
    ]
    names = {"sep": "seperator", "pad": "padding"}  # the first is their spelling
    single = {r: _id(metadata, names.get(r, r), len(tokens)) for r in ("bos", "eos", "pad", "cls", "sep", "mask")}
    usual = kind == "llama" or metadata.get(f"{KEY}pre") in WHOLE_WORDS
    adds = metadata.get(f"{KEY}add_bos_token", usual) and single["bos"] is not None
    begin = (single["bos"],) if adds else ()
    end = (single["eos"],) if metadata.get(f"{KEY}add_eos_token") and single["eos"] is not None else ()
    description["post_processor"] = around({tokens[i]: i for i in begin}, {tokens[i]: i for i in end})
    stops = [i for i in (_id(metadata, name, len(tokens)) for name in ("eot", "eom")) if i is not None]
    stops += [i for token, i in vocab.items() if token in ENDS and types[i] == CONTROL]
    engine, template = Pipeline(description), metadata.get("tokenizer.chat_template")
    return Tokenizer(engine, roles_of(single, stops, begin, end, template, engine.specials))


def _id(metadata: dict, name: str, size: int) -> int | None:
    """The id of a role; None where the file names none."""
    i = metadata.get(f"{KEY}{name}_token_id")
    if i is not None and not 0 <= i < size:
        raise ValueError(f"{KEY}{name}_token_id is {i}, and there are {size} tokens")
    return i


def _byte_pairs(metadata: dict, vocab: dict[str, int], types: list[int]) -> dict:
    cuts, merges = metadata.get(f"{KEY}pre", "default"), metadata.get(f"{KEY}merges")
    if cuts not in CUTS:
        raise ValueError(f"{KEY}pre is {cuts!r}, a way to cut text that is not known, beside {', '.join(CUTS)}")
    if merges is None:
        raise ValueError(f"there is no {KEY}merges")
    description = byte_level(vocab, list(merges), CUTS[cuts], ignore_merges=cuts in WHOLE_WORDS)
    return {**description, "normalizer": {"type": "NFC"} if cuts in COMPOSED else None}


def _scored(metadata: dict, vocab: dict[str, int], types: list[int]) -> dict:
    scores = metadata.get(f"{KEY}scores")
    if scores is None or len(scores) != len(types):
        raise ValueError(f"{KEY}scores is not a number for each token")
    unknown = _id(metadata, "unknown", len(types))
    unknown = next((i for i in vocab.values() if types[i] == UNKNOWN), None) if unknown is None else unknown
    texts = {token: i for token, i in vocab.items() if types[i] == NORMAL}
    ways = []
    for token, i in texts.items():
        halves = [(token[:at], token[at:]) for at in range(1, len(token))]
        known = [way for way in halves if way[0] in texts and way[1] in texts]
        ways += [
            (scores[i], len(a), len(b), a, b) for a, b in sorted(known, key=lambda way: (texts[way[0]], texts[way[1]]))
        ]
    ways.sort(key=lambda way: way[:3], reverse=True)
    space = metadata.get(f"{KEY}add_space_prefix", True)
    blank = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    back = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
    back += [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if space else []
    name = None if unknown is None else next(token for token, i in vocab.items() if i == unknown)
    prefix = [{"type": "Prepend", "prepend": "▁"}] if space else []
    model = {"unk_token": name, "fuse_unk": True, "byte_fallback": True, "vocab": vocab}
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*prefix, blank]},
        "pre_tokenizer": None,
        "model": {"type": "BPE", **model, "merges": [list(way[3:]) for way in ways]},
        "decoder": {"type": "Sequence", "decoders": back},
    }
