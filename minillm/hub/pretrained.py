"""Models that others trained, whole: a folder in Hugging Face's format or a GGUF file, with the head that is on it.

`huggingface` reads and writes trunks with an output layer. What stands on a trunk instead is a row of `HEADS`, known by
the class that config.json names; a folder of sentence-transformers says in modules.json how vectors of texts are made.
"""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from minillm.hub.families import Family, Tensors
from minillm.hub.gguf import read_gguf
from minillm.hub.gguf_models import settings_of, tensors_of
from minillm.hub.gguf_tokenizer import tokenizer_from_gguf
from minillm.hub.huggingface import assemble, pack_trunk, read_config, save_pretrained, write_folder
from minillm.hub.settings import number
from minillm.hub.tokenizer_json import read_tokenizer
from minillm.hub.weights import Unfilled, as_dtype, fill, read_tensors
from minillm.models import (
    Encoder,
    Head,
    PairClassifier,
    PooledClassifier,
    RewardModel,
    SequenceClassifier,
    TextEncoder,
    TokenClassifier,
)  # fmt: skip
from minillm.system import Fields, MappedFile, read_json, read_object, reading, shown, write_json
from minillm.text import Tokenizer
from minillm.training import unwrap


class ForeignHead(NamedTuple):
    """What Hugging Face's files call the layers of a head: ours -> theirs."""

    kind: type[Head]
    names: dict[str, str]
    bias: bool = True


SEQUENCE, TOKEN = "ForSequenceClassification", "ForTokenClassification"
HEADS = {  # by the end of the class's name, and by whether it reads both ways
    (SEQUENCE, True): ForeignHead(PooledClassifier, {"pooler": "bert.pooler.dense", "head": "classifier"}),
    (TOKEN, True): ForeignHead(TokenClassifier, {"head": "classifier"}),
    (SEQUENCE, False): ForeignHead(SequenceClassifier, {"head": "score"}, bias=False),
    (TOKEN, False): ForeignHead(TokenClassifier, {"head": "score"}),
}
ALIKE = (PairClassifier, RewardModel)  # which read one row of tokens as a SequenceClassifier does
POOLING_FLAGS = {
    "pooling_mode_cls_token": "first",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
}
PIECE, PIECES, WHOLE = 1 << 20, 64, 1 << 28  # bytes, and how many of them, and of a small file
STEPS = "sentence_transformers.models."  # how the types in modules.json begin


def is_foreign(path: str | os.PathLike) -> bool:
    """Whether this is not the folder of a run of ours, but a file, or a folder in Hugging Face's format."""
    path = Path(path)
    try:
        content = {} if path.is_file() else read_json(path / "config.json")
    except ValueError:
        return False
    ours = {"stage", "model"}  # others may use one of these words, too
    return path.is_file() or (isinstance(content, dict) and "model_type" in content and not ours <= content.keys())


def load_foreign(path: str | os.PathLike, dtype: torch.dtype | str | None = None) -> nn.Module:
    """The model of a folder or of a GGUF file, in evaluation mode, in fp32 or another dtype.

    Raises: ValueError, naming the file, for what is not wholly a model that we have.
    """
    path, dtype = Path(path), as_dtype(dtype)
    if path.is_file():
        file = read_gguf(path, texts=False)
        with reading(path):
            settings = settings_of(file)
        family, config = read_config(settings, path)
        with reading(path):
            return fill(*assemble(family, config, tensors_of(file, settings, dtype), (path, path)), dtype)
    source = path / "config.json"
    settings = read_object(source)
    family, config = read_config(settings, source)
    tensors, place, files = read_tensors(path, family.classes[1])
    encodes, head = (path / "modules.json").exists(), _head_of(settings, family)
    own = _take_head(tensors, head, place) if head else {}
    trunk, tensors = assemble(family, config, tensors, (source, place), headless=bool(own) or encodes)
    fill(trunk, tensors, dtype, files)
    if encodes:
        return TextEncoder(trunk, _pooling(path, config.width)).eval()
    if not head:
        return trunk
    with reading(source), Unfilled():
        model = head.kind(trunk, len(label_names(settings)), dropout=_dropout(settings, family), bias=head.bias)
    for ours, layer in own.items():
        module = getattr(model, ours)
        for name, parameter in module.named_parameters():
            if parameter.shape != layer[name].shape:
                expected = f"where config.json asks for {list(parameter.shape)}"
                raise ValueError(f"{place}: {head.names[ours]}.{name} is {list(layer[name].shape)}, {expected}")
        fill(module, layer, dtype, files)
    return model.eval()


def _head_of(settings: dict, family: Family) -> ForeignHead | None:
    """The head that the model has instead of an output layer, if any. Raises: ValueError for what we do not have."""
    names = settings.get("architectures") or [""]
    name = names[0] if isinstance(names, list) and isinstance(names[0], str) else ""
    both_ways = family.kind is Encoder
    found = next((HEADS[end, both_ways] for end in (SEQUENCE, TOKEN) if name.endswith(end)), None)
    if found and settings.get("problem_type") not in (None, "single_label_classification"):
        raise ValueError(f"{settings.path}: problem_type is {shown(settings['problem_type'])}, which is not supported")
    one = found and len(label_names(settings)) == 1
    return found._replace(kind=RewardModel) if one and found.kind is SequenceClassifier else found


def label_names(settings: Fields) -> list[str]:
    """The names of the classes that config.json gives. Raises: ValueError where they are not numbered from 0 on."""
    names = settings.get("id2label") or {str(i): f"LABEL_{i}" for i in range(2)}
    found = [names.get(str(i)) for i in range(len(names))] if isinstance(names, dict) else [None]
    if not all(isinstance(name, str) for name in found):
        raise ValueError(f'{settings.path}: "id2label" is {shown(names)}, which does not name the classes 0, 1, 2 ...')
    return found


def _take_head(tensors: Tensors, head: ForeignHead, place: Path) -> dict[str, Tensors]:
    """The tensors of each layer of the head, which are no longer among the others."""
    found: dict[str, Tensors] = {}
    for ours, theirs in head.names.items():
        for name in ("weight", "bias") if head.bias else ("weight",):
            if f"{theirs}.{name}" not in tensors:
                raise ValueError(f"{place}: lacks the tensor {theirs}.{name}")
            found.setdefault(ours, {})[name] = tensors.pop(f"{theirs}.{name}")
    return found


def _dropout(settings: dict, family: Family) -> float:
    """Of the head."""
    name = family.dropouts[0] if settings.get("classifier_dropout") is None else "classifier_dropout"
    return number(settings, name, family.defaults[family.dropouts[0]], fraction=True)


def _pooling(folder: Path, width: int) -> str:
    """How a folder of sentence-transformers makes one vector of many. Raises: ValueError for a way that we lack."""
    steps, place = read_json(folder / "modules.json"), folder / "modules.json"
    with reading(place):
        kinds = [step["type"].rpartition(".")[2] for step in steps]
        if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
            raise ValueError(f"the steps are {', '.join(kinds)}: only Transformer, Pooling, Normalize are supported")
        place = folder / steps[1]["path"] / "config.json"
    said = read_object(place)
    chosen = [name for name, on in said.items() if name.startswith("pooling_mode_") and on is True]
    if len(chosen) != 1 or chosen[0] not in POOLING_FLAGS or said.get("word_embedding_dimension", width) != width:
        known = ", ".join(POOLING_FLAGS)
        raise ValueError(f"{place}: {shown(chosen)} of width {width} is not supported: one of {known} is")
    return POOLING_FLAGS[chosen[0]]


def foreign_labels(path: str | os.PathLike) -> list[str]:
    """The names of the classes of a model; none of a model without."""
    settings = Fields({}, path) if Path(path).is_file() else read_object(Path(path) / "config.json")
    named = settings.get("architectures") or [""]
    return label_names(settings) if str(named[0]).endswith((SEQUENCE, TOKEN)) else []


def foreign_tokenizer(path: str | os.PathLike) -> Tokenizer:
    """The tokenizer of a folder or of a GGUF file. Raises: ValueError, naming it, for one that we do not have."""
    if not Path(path).is_file():
        return read_tokenizer(path)
    with reading(path):
        return tokenizer_from_gguf(read_gguf(path).metadata)


def foreign_fingerprint(path: str | os.PathLike) -> str:
    """A checksum of settings and weights, by which an adapter recognises its base.

    Of a file above `WHOLE` bytes it reads the size, the first and the last piece and pieces in between: training moves
    all weights, so the pieces tell models apart; a single weight that was changed on purpose, they do not.
    """
    path, digest = Path(path), hashlib.sha256()
    found = [path] if path.is_file() else [path / "config.json", *sorted(path.glob("*.safetensors"))]
    for file in map(MappedFile, found):
        size = len(file.data)
        digest.update(str(size).encode())
        steps = range(0, size, PIECE) if size <= WHOLE else [i * (size - PIECE) // PIECES for i in range(PIECES + 1)]
        for start in steps:
            digest.update(file.data[start : start + PIECE])
            file.release()
    return digest.hexdigest()


def save_foreign(model: nn.Module, folder: str | os.PathLike, labels: list[str] | None = None) -> None:
    """Write a model, with or without a head, so that transformers, or sentence-transformers, loads it.

    Args: labels: the names of the classes; LABEL_0 and so on where there are none
    Raises: ValueError for a model that none of Hugging Face's classes can be.
    """
    model, folder = unwrap(model), Path(folder)
    trunk = getattr(model, "trunk", None)
    if trunk is None:
        save_pretrained(model, folder)
        return
    family, settings, tensors = pack_trunk(trunk)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(family.head)}
    stem = family.classes[0].removesuffix("ForMaskedLM").removesuffix("ForCausalLM").removesuffix("LMHeadModel")
    if isinstance(model, TextEncoder):
        settings["architectures"] = [f"{stem}Model"]
        tensors = {name.removeprefix(family.trunk): tensor for name, tensor in tensors.items()}
        _write_steps(folder, model.pooling, trunk.config.width)
    else:
        end, head = _home(model)
        settings["architectures"] = [stem + end]
        names = labels or [f"LABEL_{i}" for i in range(model.outputs)]
        settings["id2label"] = {str(i): name for i, name in enumerate(names)}
        settings["label2id"] = {name: i for i, name in enumerate(names)}
        for ours, theirs in head.names.items():
            layer = getattr(model, ours)
            tensors |= {f"{theirs}.weight": layer.weight} | ({f"{theirs}.bias": layer.bias} if head.bias else {})
    write_folder(folder, settings, tensors)


def _home(model: Head) -> tuple[str, ForeignHead]:
    """The end of the class's name that has such a head. Raises: ValueError where there is none."""
    pooling = "last" if model.trunk.causal else "first"
    for (end, both_ways), head in HEADS.items():
        same = type(model) is head.kind or (type(model) in ALIKE and head.kind is SequenceClassifier)
        if both_ways is not model.trunk.causal and same:
            if end == SEQUENCE and model.pooling != pooling:
                raise ValueError(f"the head reads the vector {model.pooling!r}, and Hugging Face's the {pooling}")
            if not head.bias and model.head.bias is not None and model.head.bias.any():
                raise ValueError("the head has a bias, and Hugging Face's of such a model has none")
            return end, head
    raise ValueError(f"a {type(model).__name__} on such a trunk has no Hugging Face counterpart")


def _write_steps(folder: Path, pooling: str, width: int) -> None:
    """What sentence-transformers wants to know."""
    flags = {flag: name == pooling for flag, name in POOLING_FLAGS.items()}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **flags})
    steps = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    rows = [{"idx": i, "name": str(i), "path": path, "type": STEPS + kind} for i, (path, kind) in enumerate(steps)]
    write_json(folder / "modules.json", rows)
