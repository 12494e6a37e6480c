"""Checkpoints in Hugging Face's format, in and out: a folder with config.json and model.safetensors.

GPT-2 (Radford et al. 2019), BERT (Devlin et al. 2019), Llama (Touvron et al. 2023) and its relatives: `families` and
`foreign` say how each is written. What changes the maths in a way that we do not have is refused, and so is a folder
that lacks a tensor or has one too many: a model that loads computes what the original computes. Nothing is unpickled.

Left out: downloading, quantised weights, tokenizers, BERT's pooler and next-sentence output,
which are dropped on reading.
"""

import os
import re
import warnings
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from minillm.hub.families import FAMILIES, Family, Tensors
from minillm.hub.settings import flat_rope, number, rope_scaling
from minillm.hub.weights import Unfilled, as_dtype, check_size, fill, read_tensors
from minillm.models import RECIPES, Decoder, Details, Encoder, ModelConfig, Transformer
from minillm.system import read_json, reading, save_file, write_json
from minillm.training import unwrap


def load_pretrained(
    folder: str | os.PathLike, dtype: torch.dtype | str | None = None
) -> tuple[Transformer, ModelConfig]:
    """The model of a folder, in fp32 or another dtype and evaluation mode, and its config.

    A file of the trunk alone (transformers' BertModel) gets a new output layer where one is needed, with a warning.
    Raises: ValueError, naming file and setting or tensor, for what is not wholly a model that we have.
    """
    folder = Path(folder)
    settings = read_json(folder / "config.json")
    family, config = read_config(settings, folder / "config.json")
    tensors, source, files = read_tensors(folder, family.classes[1])
    model, tensors = assemble(family, config, tensors, (folder / "config.json", source))
    return fill(model, tensors, as_dtype(dtype), files), config


def read_config(settings: dict, source: Path) -> tuple[Family, ModelConfig]:
    """The content of config.json as a family and our config. Raises: ValueError for what we do not have."""
    try:
        return _read_config(settings)
    except (ValueError, TypeError, AttributeError) as error:  # a value of another type than expected
        raise ValueError(f"{source}: {error}") from None


def assemble(
    family: Family, config: ModelConfig, tensors: Tensors, places: tuple[Path, Path], headless: bool = False
) -> tuple[Transformer, Tensors]:
    """The model whose tensors these are, `Unfilled`, and what to `fill` it with.

    Args:
        tensors: in the family's names; they are taken out, so that none is kept longer than needed
        places: the files that hold the settings and the tensors, for messages
        headless: no output layer is there, nor will be needed
    """
    with reading(places[0]), Unfilled():
        check_size({**asdict(config), "vocab_size": 0}, tensors)  # a wrong vocabulary takes no memory yet
        model = family.kind(config)
    expected = _pack(model, family)
    own = _new_head(expected, family) if headless else {}
    tensors = _tidy({name: tensors.pop(name) for name in list(tensors)} | own, expected, family, places[1])
    _check(tensors, expected, places[1])
    return model.eval(), _unpack(tensors, model, family)


def save_pretrained(model: nn.Module, folder: str | os.PathLike) -> None:
    """Write a model so that transformers' AutoModelForCausalLM, or for BERT AutoModelForMaskedLM, loads it.

    Raises: ValueError for a model that none of Hugging Face's families can be.
    """
    _, settings, tensors = pack_trunk(unwrap(model))
    write_folder(Path(folder), settings, tensors)


def pack_trunk(model: nn.Module) -> tuple[Family, dict, Tensors]:
    """The family of a model, and what config.json and the file of its tensors are to hold; or ValueError."""
    recipe = getattr(getattr(model, "config", None), "recipe", None)
    homes = [name for name, f in FAMILIES.items() if type(model) is f.kind and recipe in f.recipes.values()]
    if not homes:
        raise ValueError(
            f"this {type(model).__name__} of recipe {recipe} has no Hugging Face counterpart: a Decoder of recipe "
            f"{', '.join(_recipes(Decoder))} has one, and an Encoder of recipe {', '.join(_recipes(Encoder))}"
        )
    family = FAMILIES[homes[0]]
    settings, tensors = _write_config(model.config, family), _pack(model, family)
    if "segments" in family.settings and not model.config.segments:  # theirs cannot do without a vector to add
        tensors[family.name("segment.weight")] = torch.zeros(1, model.config.width)
    return family, {"model_type": homes[0], **settings}, tensors


def write_folder(folder: Path, settings: dict, tensors: Tensors) -> None:
    """Write the two files."""
    (folder / "config.json").unlink(missing_ok=True)  # last: a kill never leaves an old one beside new weights
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    write_json(folder / "config.json", settings)


def _recipes(kind: type[Transformer]) -> list[str]:
    """The recipes of this kind of model that have a home."""
    return list(dict.fromkeys(name for f in FAMILIES.values() if f.kind is kind for name in f.recipes.values()))


def _read_config(theirs: dict) -> tuple[Family, ModelConfig]:
    """The content of config.json as a family and our config."""
    kind = theirs.get("model_type")
    if kind not in list(FAMILIES):
        raise ValueError(f"model_type is {kind!r}, and only {', '.join(FAMILIES)} are known")
    family = FAMILIES[kind]
    if theirs.get("quantization_config") is not None:
        raise ValueError("the weights are quantised (quantization_config), which is not supported")
    scaling = {}
    if "rope_theta" in family.settings:
        share, local = (family.details.get(name) for name in ("rotary_share", "local_theta"))
        theirs, scaling = flat_rope(theirs, family.settings["rope_theta"], share, local)
    for key, only in family.fixed.items():
        if family.synonyms.get(key, {}).get(theirs.get(key), theirs.get(key)) not in (only, None):
            raise ValueError(f"{key} is {theirs[key]!r}, and only {only!r} is supported")
    tied = theirs.get("tie_word_embeddings", family.defaults["tie_word_embeddings"])
    if tied not in list(family.recipes):
        raise ValueError(f"tie_word_embeddings is {tied!r}, for which there is no {kind} recipe")
    recipe = family.recipes[tied]
    keys = {**family.settings, "dropout": family.dropouts[0]}
    numbers = {ours: _number(theirs, key, family.defaults) for ours, key in keys.items()}
    details = {ours: _detail(theirs, ours, key, family.defaults) for ours, key in family.details.items()}
    details |= {"tied": tied and not RECIPES[recipe].tied, **scaling, **family.layers.read(theirs)}
    if details.get("head_dim", 0) * numbers["heads"] == numbers["width"]:
        details["head_dim"] = 0
    return family, ModelConfig(recipe=recipe, **numbers, details=Details(**details))


def _number(theirs: dict, key: str, defaults: dict) -> int | float:
    """One setting; a fraction is allowed where the default is one."""
    return number(theirs, key, defaults.get(key), isinstance(defaults.get(key), float))


def _detail(theirs: dict, ours: str, key: str, defaults: dict) -> int | float:
    """One setting that a file may null, which is not the same as leaving it out."""
    none = getattr(Details(), ours)
    default = none if key in theirs else defaults.get(key)
    return number(theirs, key, none if default is None else default, isinstance(none, float))


def _write_config(config: ModelConfig, family: Family) -> dict:
    """What config.json says, beside the model_type."""
    plain = {"kv_heads": config.groups == config.heads, "segments": config.segments == 0}
    known = {"tied", *family.details, *family.layers.fields}
    known |= {"rope_factor", "rope_low", "rope_high", "rope_original"} if "rope_theta" in family.settings else set()
    plain |= dict.fromkeys(config.details.differing().keys() - known, False)
    for name, is_plain in plain.items():
        if name not in family.settings and not is_plain:
            value = getattr(config, name, getattr(config.details, name, None))
            raise ValueError(f"{name} is {value}, which a {family.classes[0]} cannot have")
    values = {**asdict(config), "kv_heads": config.groups, "hidden": config.inner, "segments": config.segments or 1}
    own = config.details
    means = {"head_dim": config.head_dim, "query_scale": config.head_dim, "local_theta": config.rope_theta}  # by a 0
    details = {theirs: getattr(own, ours) or means.get(ours) for ours, theirs in family.details.items()}
    known = {theirs for ours, theirs in family.details.items() if getattr(own, ours) or family.defaults.get(theirs)}
    return {
        "architectures": [family.classes[0]],
        **{theirs: values[ours] for ours, theirs in family.settings.items()},
        **{key: details[key] for key in details if key in known},
        **rope_scaling(own),
        **family.layers.write(config),
        **dict.fromkeys(family.dropouts, config.dropout),
        **family.fixed,
        "tie_word_embeddings": config.tied,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")),  # transformers would make up some
    }


def _tidy(tensors: Tensors, expected: Tensors, family: Family, source: Path) -> Tensors:
    """The same tensors in their newest and longest names, without those that are no part of our model."""
    for old, new in family.renamed:
        tensors = {re.sub(old, new, name): tensor for name, tensor in tensors.items()}
    if not any(name.startswith(family.trunk) for name in tensors):  # the trunk alone has short names
        tensors = {name if name.startswith(family.head) else family.trunk + name: t for name, t in tensors.items()}
        new = _new_head(expected, family)
        if new and not new.keys() & tensors.keys():
            warnings.warn(f"{source}: has no output layer; a new one, untrained, takes its place", stacklevel=3)
            tensors |= new
    tensors = {name: tensor for name, tensor in tensors.items() if not re.fullmatch(family.dropped, name)}
    table = family.name("embedding.weight")
    if family.output not in expected and family.output in tensors:  # tied, and stored twice
        copy = tensors.pop(family.output)
        if table in tensors and not torch.equal(copy, tensors[table]):
            raise ValueError(f"{source}: {family.output} is not {table}, though config.json says that they are one")
    return tensors


def _new_head(expected: Tensors, family: Family) -> Tensors:
    """An output layer that has learned nothing."""
    empty = {name: torch.empty(t.shape) for name, t in expected.items() if name.startswith(family.head)}
    for name, tensor in empty.items():
        if tensor.dim() > 1:
            tensor.normal_(std=0.02)
        else:
            tensor.fill_("norm" in name.lower() and name.endswith("weight"))
    return empty


def _check(tensors: Tensors, expected: Tensors, source: Path) -> None:
    """Raises ValueError that names the first tensor that is missing, unknown, or not as config.json says."""
    for name, tensor in expected.items():
        if name not in tensors:
            raise ValueError(f"{source}: lacks the tensor {name}")
        shape, kind = list(tensors[name].shape), tensors[name].dtype
        if shape != list(tensor.shape) or not kind.is_floating_point:
            raise ValueError(
                f"{source}: {name} is {shape} of {kind}, where config.json asks for {list(tensor.shape)} of floats"
            )
    for name in sorted(tensors.keys() - expected.keys()):
        raise ValueError(f"{source}: holds the tensor {name}, for which the model of config.json has no place")


def _pack(model: Transformer, family: Family) -> Tensors:
    """The model's tensors, as the family writes them."""
    tensors = model.state_dict()
    if model.config.tied:
        del tensors["head.weight"]
    return family.pack({family.name(name): tensor for name, tensor in tensors.items()}, model.config)


def _unpack(tensors: Tensors, model: Transformer, family: Family) -> Tensors:
    """Undo `_pack`: the tensors in our names."""
    tensors = family.unpack(tensors, model.config)
    tied = {"head.weight": "embedding.weight"} if model.config.tied else {}
    return {name: tensors[family.name(tied.get(name, name))] for name in model.state_dict()}
