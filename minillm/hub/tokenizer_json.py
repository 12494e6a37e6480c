"""Tokenizers in Hugging Face's format, in: tokenizer.json beside tokenizer_config.json, or the files of older models.

What a file says that we do not know is refused, so that ids are those of Hugging Face's library or there are none; of
tokenizer_config.json that is the special tokens, what stands around a text, and BERT's lower case. Older files are
vocab.txt (BERT), and vocab.json with merges.txt (GPT-2). Left out: SentencePiece's tokenizer.model; truncation and
padding, which are no part of a tokenizer.
"""

import os
from pathlib import Path

from minillm.hub.describe import ENDS, bert_description, gpt2_description, guessed, named
from minillm.system import read_json, reading
from minillm.text import Pipeline, Tokenizer, check_added, check_model, name_of, nearest_roles

ROLES = ("bos", "eos", "pad", "cls", "sep", "mask")
CONFIG, TEMPLATE = "tokenizer_config.json", "chat_template.jinja"


def read_tokenizer(folder: str | os.PathLike) -> Tokenizer:
    """The tokenizer of a folder in Hugging Face's format, or of one of our runs.

    Raises: ValueError, naming file and part, for what is not known, damaged or missing.
    """
    folder = Path(folder)
    config = _read(folder / CONFIG)
    config = {**_read(folder / "special_tokens_map.json"), **config}
    source = next(
        (folder / name for name in ("tokenizer.json", "vocab.txt", "vocab.json") if (folder / name).exists()), None
    )
    if source is None:
        found = "; a tokenizer.model of SentencePiece is not read" if (folder / "tokenizer.model").exists() else ""
        raise ValueError(f"{folder}: holds neither tokenizer.json nor vocab.txt nor vocab.json with merges.txt{found}")
    if source.name == "tokenizer.json":
        description = _read(source)
        if "format" in description:
            return Tokenizer.load(source)
    with reading(source):
        if source.name == "vocab.txt":
            description = bert_description(source.read_text(encoding="utf-8-sig"), config)
        elif source.name == "vocab.json":
            merges = (folder / "merges.txt").read_text(encoding="utf-8-sig")
            description = gpt2_description(_read(source), merges, config)
        description = _with_config(description, config)
        engine = Pipeline(description)
        return Tokenizer(engine, _roles(engine, config, folder))


def _read(path: Path) -> dict:
    """The object in a JSON file, with or without a mark of byte order; an empty one where there is no file."""
    if not path.exists():
        return {}
    with reading(path):
        content = read_json(path, path.read_text(encoding="utf-8-sig"))
        if not isinstance(content, dict):
            raise ValueError("expected a JSON object, {...}")
    return content


def _with_config(description: dict, config: dict) -> dict:
    """A description with what tokenizer_config.json changes in it: tokens that are special, and BERT's normaliser."""
    if not isinstance(description.get("model"), dict):
        raise ValueError("there is no model in it: this is not a tokenizer.json of Hugging Face's library")
    check_model(description["model"])
    check_added(description.get("added_tokens") or [])
    vocab, added = description["model"]["vocab"], list(description.get("added_tokens") or [])
    ids = {token["id"] for token in added}
    for i, token in sorted((config.get("added_tokens_decoder") or {}).items(), key=lambda item: int(item[0])):
        if int(i) not in ids:
            added.append({**token, "id": int(i)})
            ids.add(int(i))
    for role in (*ROLES, "unk"):
        name = named(config, role)
        if name in vocab and vocab[name] not in ids:
            added.append({"id": vocab[name], "content": name, "special": True, "normalized": False})
            ids.add(vocab[name])
    normalizer = description.get("normalizer") or {}
    if normalizer.get("type") == "BertNormalizer":
        settings = {"lowercase": "do_lower_case", "strip_accents": "strip_accents"}
        settings |= {"handle_chinese_chars": "tokenize_chinese_chars"}
        normalizer |= {ours: config[theirs] for ours, theirs in settings.items() if config.get(theirs) is not None}
    return {**description, "added_tokens": added}


def _roles(engine: Pipeline, config: dict, folder: Path):
    """Which ids do what, from what the files name, or else from how the tokens are called."""
    by_name = {name: i for i, name in engine.names.items()}
    single = {role: by_name.get(named(config, role)) for role in ROLES}
    if single["bos"] is None and single["eos"] is None and single["cls"] is None:
        single = guessed(engine.specials) | {role: i for role, i in single.items() if i is not None}
    begin, end = surroundings(engine.description["post_processor"], by_name)
    if "add_bos_token" in config or "add_eos_token" in config:
        begin = (single["bos"],) if config.get("add_bos_token") and single["bos"] is not None else ()
        end = (single["eos"],) if config.get("add_eos_token") and single["eos"] is not None else ()
    template = config.get("chat_template")
    if (folder / TEMPLATE).exists():
        template = (folder / TEMPLATE).read_text(encoding="utf-8")
    if isinstance(template, list):  # several, each with its name
        template = next((each["template"] for each in template if each["name"] == "default"), None)
    stops = [i for name, i in engine.specials.items() if name in ENDS]
    for file in ("generation_config.json", "config.json"):
        said = _read(folder / file).get("eos_token_id")
        stops += [i for i in (said if isinstance(said, list) else [said]) if isinstance(i, int)]
    return roles_of(single, stops, begin, end, template, engine.specials)


def roles_of(
    single: dict[str, int | None], stops: list[int], begin: tuple, end: tuple, template: str | None, specials: dict
):
    """Roles of which some may be missing; whatever ends a text is among those that stop."""
    name = name_of(template, specials)
    roles = nearest_roles(**single, stop=(), begin=begin, end=end, template=name, chat_template=template)
    return roles._replace(stop=tuple(sorted({*stops, roles.eos})))


def surroundings(part: dict | None, ids: dict[str, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that `post_processor` of a tokenizer.json puts before and behind a text.

    Raises: ValueError for a kind that is not known.
    """
    kind = None if part is None else part.get("type")
    if kind in (None, "ByteLevel"):
        return (), ()
    if kind == "Sequence":
        both = [surroundings(each, ids) for each in part["processors"]]
        return tuple(i for begin, _ in reversed(both) for i in begin), tuple(i for _, end in both for i in end)
    if kind in ("BertProcessing", "RobertaProcessing"):
        return (part["cls"][1],), (part["sep"][1],)
    if kind != "TemplateProcessing":
        raise ValueError(f"post_processor is of the type {kind!r}, which is not known")
    place = [next(iter(piece)) for piece in part["single"]].index("Sequence")
    written = [
        part["special_tokens"][piece["SpecialToken"]["id"]]["ids"] if "SpecialToken" in piece else []
        for piece in part["single"]
    ]
    return tuple(i for some in written[:place] for i in some), tuple(i for some in written[place:] for i in some)
