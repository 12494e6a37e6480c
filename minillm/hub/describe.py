"""Tokenizers as tokenizer.json describes them, made from what other files say: the older ones of BERT and GPT-2."""

# Names of tokens that end an answer or a text.
ENDS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>", "<|end_of_text|>")
ENDS += ("<|eos|>", "<|end_of_turn|>", "<turn|>")
USUAL = {  # of a role, where no file names one
    "bos": ("<s>", "<|begin_of_text|>", "<bos>", "<|bos|>", "<|endoftext|>"),
    "eos": ("</s>", "<|end_of_text|>", "<eos>", "<|eos|>", "<|endoftext|>"),
    "pad": ("<pad>", "[PAD]", "<|pad|>"),
    "cls": ("[CLS]", "<|cls|>"),
    "sep": ("[SEP]", "<|sep|>"),
    "mask": ("[MASK]", "<mask>", "<|mask|>"),
}
BERT_TOKENS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}


def named(config: dict, role: str) -> str | None:
    """The name that tokenizer_config.json gives a token: a text, or an object around it."""
    entry = config.get(f"{role}_token")
    return entry.get("content") if isinstance(entry, dict) else entry


def guessed(specials: dict[str, int]) -> dict[str, int | None]:
    """Ids of the roles by the usual names."""
    return {role: next((specials[n] for n in names if n in specials), None) for role, names in USUAL.items()}


def bert_description(vocab_txt: str, config: dict) -> dict:
    """BERT's vocab.txt: a token a line.

    Raises: ValueError for settings that are not known.
    """
    if config.get("do_basic_tokenize") is False:
        raise ValueError("do_basic_tokenize is false in tokenizer_config.json, which is not known")
    lines = vocab_txt.split("\n")
    vocab = {line.rstrip("\r"): i for i, line in enumerate(lines[:-1] if lines[-1] == "" else lines)}
    names = {role: named(config, role) or usual for role, usual in BERT_TOKENS.items()}
    missing = [name for name in names.values() if name not in vocab]
    if missing:
        raise ValueError(f"there is no {missing[0]} in it: this is not the vocabulary of a BERT")
    for role, name in names.items():
        config.setdefault(f"{role}_token", name)
    ids = {role: vocab[name] for role, name in names.items()}
    tidy = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
    model = {"unk_token": names["unk"], "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    return {
        "added_tokens": [{"id": vocab[n], "content": n, "special": True, "normalized": False} for n in names.values()],
        "normalizer": {"type": "BertNormalizer", **tidy},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", **model, "vocab": vocab},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "post_processor": around({names["cls"]: ids["cls"]}, {names["sep"]: ids["sep"]}, separated=True),
    }


def gpt2_description(vocab: dict[str, int], merges_txt: str, config: dict) -> dict:
    """GPT-2's vocab.json, the id of each token, and merges.txt, a merge a line."""
    lines = [line for line in merges_txt.split("\n") if line.strip() and not line.startswith("#version")]
    space = bool(config.get("add_prefix_space", False))
    return byte_level(vocab, [line.rstrip("\r") for line in lines], cut(space=space))


def cut(*before: dict, space: bool = False) -> dict:
    """A pre-tokenizer that ends with bytes, cut by GPT-2's pattern unless something cuts before."""
    own = not any(step["type"] == "Split" for step in before)
    last = {"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": True, "use_regex": own}
    return {"type": "Sequence", "pretokenizers": [*before, last]} if before else last


def at_pattern(pattern: str) -> dict:
    """A step that cuts at the matches of a pattern."""
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def byte_level(vocab: dict[str, int], merges: list, pre_tokenizer: dict, **model) -> dict:
    """Byte pairs over GPT-2's characters."""
    written = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None}
    written |= {"end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    bytes_back = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    return {
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "model": written | model | {"vocab": vocab, "merges": merges},
        "decoder": bytes_back,
        "post_processor": None,
    }


def around(begin: dict[str, int], end: dict[str, int], separated: bool = False) -> dict | None:
    """A post-processor that puts tokens, by name and id, before and behind a text.

    Args: separated: of a pair of texts the second has nothing before it, as in BERT.
    """
    if not begin and not end:
        return None

    def side(names: dict[str, int], kind: int) -> list[dict]:
        return [{"SpecialToken": {"id": name, "type_id": kind}} for name in names]

    first = [*side(begin, 0), {"Sequence": {"id": "A", "type_id": 0}}, *side(end, 0)]
    second = [*side({} if separated else begin, 1), {"Sequence": {"id": "B", "type_id": 1}}, *side(end, 1)]
    tokens = {name: {"id": name, "ids": [i], "tokens": [name]} for name, i in {**begin, **end}.items()}
    return {"type": "TemplateProcessing", "single": first, "pair": first + second, "special_tokens": tokens}
