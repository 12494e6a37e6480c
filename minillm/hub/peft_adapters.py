"""LoRA in the format of Hugging Face's peft, in and out: adapter_config.json and adapter_model.safetensors in a folder.

Parts are called as in transformers, by the model's row of `families`; in any other nn.Module by their own paths. What
changes the maths in a way that we do not have is refused, and so is a file that lacks a tensor or has one too many.
Nothing is unpickled.

GPT-2 has queries, keys and values in one matrix, and so one A for the three. When read, each gets a copy of A, and its
own rows of B. When written, three different A are stacked, and B is zero where a part has no share:

    [Bq  0   0 ]   [Aq]
    [0   Bk  0 ] @ [Ak]     of rank Rq + Rk + Rv, and the same product
    [0   0   Bv]   [Av]

Left out: other methods than LoRA; parts that learned whole beside it (modules_to_save), such as a head. R: rank.
"""

import math
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mode

import torch
from torch import Tensor, nn

from minillm.hub.families import FAMILIES, Family
from minillm.peft import Adapter, LoRA, LoRALinear, Slot, adapter_names, adapters, inject, slots
from minillm.system import load_file, read_json, save_file, write_json

CONFIG_FILE, TENSORS_FILE, PICKLED_FILE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
PREFIX = "base_model.model."  # of every tensor: how peft wraps
FUSED = (r"\.attn\.(query|key|value)$", ".attn.c_attn")  # of GPT-2, what `families` packs into one
ONLY = {  # settings with the values that we have, null included; other beginnings change the model's own weights
    "peft_type": ("LORA",),
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva"),
}
SETTING_TYPES = {"r": int, "lora_alpha": int | float, "lora_dropout": int | float, "use_rslora": bool}
SETTING_TYPES |= {"rank_pattern": dict, "alpha_pattern": dict, "target_modules": list | str}
HARMLESS = {  # where it comes from, how it was begun, and which parts were chosen, which the tensors' names say too
    "auto_mapping", "base_model_name_or_path", "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode",
    "layers_pattern", "layers_to_transform", "megatron_core", "peft_version", "qalora_group_size", "revision",
    "runtime_config", "task_type",
}  # fmt: skip


def load_peft_lora(model: nn.Module, folder: str | os.PathLike, name: str = "default") -> nn.Module:
    """Put the LoRA of a folder on a model, under this name, and return the model.

    A rank that is zero in the rows of one part of GPT-2's fused matrix, not in another's, is none of that part's.
    Raises: ValueError, naming file and setting or tensor, for what is not wholly a LoRA of this model, and as `inject`;
        the model is then as it was.
    """
    folder = Path(folder)
    settings = read_json(folder / CONFIG_FILE)
    try:
        common = _read_settings(settings)
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG_FILE}: {error}") from None
    tensors, places, parts = _read_tensors(folder), _places(model), {}
    try:
        pairs = _pairs(_without_own(tensors, places), _family(model)[1])
        _check_complete(pairs, places, settings)
        for module, (A, B) in pairs.items():
            parts |= _split(module, A, B, places[module], _of_module(module, settings, common))
    except ValueError as error:
        raise ValueError(f"{folder / TENSORS_FILE}: {error}") from None
    methods = {path: replace(method, targets=tuple(parts)) for path, (method, _, _) in parts.items()}
    model = inject(model, _Each(each=methods), name, torch.Generator())
    with torch.no_grad():
        for path, adapter in adapters(model, name):
            adapter.A.copy_(parts[path][1])
            adapter.B.copy_(parts[path][2])
    return model


def save_peft_lora(model: nn.Module, folder: str | os.PathLike, name: str | None = None) -> None:
    """Write a LoRA, in use or not, and only it, so that peft's PeftModel.from_pretrained(their_model, folder) loads it.

    Args:
        name: which adapter; not needed when there is one.
    Raises: ValueError when it is not clear which, for other methods than LoRA, and for a part that a Hugging Face model
        of this family does not have by itself.
    """
    if name not in adapter_names(model) and (name is not None or len(adapter_names(model)) != 1):
        there = ", ".join(adapter_names(model)) or "none"
        raise ValueError(f"no adapter is called {name!r}: the adapters on this model are {there}; say which")
    found = dict(adapters(model, name))
    for path, adapter in found.items():
        if not isinstance(adapter, LoRALinear):
            raise ValueError(f"{adapter.name!r} ({adapter.method.key}) on {path} is no LoRA: peft's file is of LoRA")
    modules = {}
    for module, places in _places(model).items():
        if any(slot.path in found for slot in places):
            modules[module] = _join(places, found)
            found = {path: adapter for path, adapter in found.items() if path not in {slot.path for slot in places}}
    for path in found:
        raise ValueError(f"{path} is adapted, which is no part of a Hugging Face model of this family by itself")
    tensors = {}
    for module, (_, A, B) in modules.items():
        tensors |= {f"{PREFIX}{module}.lora_A.weight": A, f"{PREFIX}{module}.lora_B.weight": B}
    (Path(folder) / CONFIG_FILE).unlink(missing_ok=True)  # last: a kill never leaves old settings beside new tensors
    save_file(tensors, Path(folder) / TENSORS_FILE, {"format": "pt"})
    methods = {module: method for module, (method, _, _) in modules.items()}
    write_json(Path(folder) / CONFIG_FILE, _write_settings(methods, _family(model)[1]))


@dataclass(frozen=True, kw_only=True)
class _Each(LoRA):
    """A LoRA whose parts differ in rank and alpha: a method for each path."""

    each: dict[str, LoRA] = field(default_factory=dict)

    def chosen(self, model: nn.Module) -> list[Slot]:
        return [slot for slot in slots(model) if slot.path in self.each]

    def wrap(self, slot: Slot, name: str, generator: torch.Generator | None) -> Adapter:
        return self.each[slot.path].wrap(slot, name, generator)


def _family(model: nn.Module) -> tuple[str, Family | None]:
    """The path of the trunk in a model of ours, with a dot behind it, and its family; none for any other module."""
    for slot in slots(model):
        recipe = getattr(getattr(slot.bare, "config", None), "recipe", None)
        for family in FAMILIES.values():
            if type(slot.bare) is family.kind and recipe in family.recipes.values():
                return f"{slot.path}.".lstrip("."), family
    return "", None


def _places(model: nn.Module) -> dict[str, list[Slot]]:
    """Their names of the modules that LoRA fits, and what each is here: one part, or the three of GPT-2's c_attn."""
    trunk, family = _family(model)
    found: dict[str, list[Slot]] = {}
    for slot in slots(model):
        path = slot.path.removeprefix(trunk)
        inside = slot.path.startswith(trunk) and re.sub(r"^blocks\.\d+\.", "", path) in (family.names if family else ())
        if LoRA.fits(slot.bare) and (inside or family is None):
            name = re.sub(*FUSED, family.name(f"{path}.weight").removesuffix(".weight")) if family else path
            found.setdefault(name, []).append(slot)
    return found


def _read_settings(settings: dict) -> LoRA:
    """What the settings say of the modules that no pattern excepts."""
    if not isinstance(settings, dict):
        raise ValueError("holds no settings")
    for key, only in ONLY.items():
        if settings.get(key) not in (*only, None):
            raise ValueError(f"{key} is {settings[key]!r}, and only {only[0]!r} is supported")
    for key, kind in SETTING_TYPES.items():
        value = settings.get(key)
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise ValueError(f"{key} is {value!r}, which is not of the type that peft writes")
    for pattern, kind in (("rank_pattern", int), ("alpha_pattern", int | float)):
        for key, value in (settings.get(pattern) or {}).items():
            if isinstance(value, bool) or not isinstance(value, kind):
                raise ValueError(f"{pattern} has {value!r} for {key!r} where a number was expected")
    for key in sorted(settings.keys() - ONLY.keys() - SETTING_TYPES.keys() - HARMLESS):
        if settings[key]:
            raise ValueError(f"{key} is {settings[key]!r}, which is not supported: it changes what the adapter does")
    given = {key: settings.get(key) for key in SETTING_TYPES}
    return LoRA(
        rank=8 if given["r"] is None else given["r"],  # 8 and 8 are what peft takes where a file says nothing
        alpha=float(8 if given["lora_alpha"] is None else given["lora_alpha"]),
        dropout=float(given["lora_dropout"] or 0),
        rank_stabilised=bool(given["use_rslora"]),
    )


def _of_module(module: str, settings: dict, common: LoRA) -> LoRA:
    """The settings of one module: as the first pattern that its name ends with says, else as of all."""
    found = {"rank": common.rank, "alpha": common.alpha}
    for ours, theirs in (("rank", "rank_pattern"), ("alpha", "alpha_pattern")):
        for pattern, value in (settings.get(theirs) or {}).items():
            try:
                fits = re.match(rf"(.*\.)?({pattern})$", module)
            except re.error:
                raise ValueError(f"{theirs} of {CONFIG_FILE} has {pattern!r}, which is no regular expression") from None
            if fits:
                found[ours] = value
                break
    return replace(common, **found)


def _write_settings(methods: dict[str, LoRA], family: Family | None) -> dict:
    """The settings of all modules: those of most of them, and what differs from that."""
    rank, alpha = mode(method.rank for method in methods.values()), mode(method.alpha for method in methods.values())
    some = next(iter(methods.values()))
    return {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": some.dropout,
        "use_rslora": some.rank_stabilised,
        "target_modules": list(methods),
        "rank_pattern": {re.escape(name): m.rank for name, m in methods.items() if m.rank != rank},
        "alpha_pattern": {re.escape(name): m.alpha for name, m in methods.items() if m.alpha != alpha},
        "fan_in_fan_out": family is FAMILIES["gpt2"],  # its matrices are (in, out)
        "bias": "none",
        "inference_mode": True,
    }


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    if not (folder / TENSORS_FILE).exists() and (folder / PICKLED_FILE).exists():
        raise ValueError(
            f"{folder / PICKLED_FILE}: is pickled, and reading it could run code: convert it where you trust it, with "
            "peft's PeftModel.from_pretrained(model, folder).save_pretrained(folder)"
        )
    return load_file(folder / TENSORS_FILE)[0]


def _without_own(tensors: dict[str, Tensor], places: dict[str, list[Slot]]) -> dict[str, Tensor]:
    """The tensors without the model's own, which peft writes along with an adapted output layer."""
    kept = {}
    for key, tensor in tensors.items():
        place = re.fullmatch(rf"{re.escape(PREFIX)}(.+)\.base_layer\.(weight|bias)", key)
        if place is None or place[1] not in places:
            kept[key] = tensor
            continue
        own = getattr(places[place[1]][0].bare, place[2])
        if own is None or not torch.equal(tensor, own.to(tensor)):
            raise ValueError(f"holds a {place[2]} of {place[1]} itself, which is not that of this model")
    return kept


def _pairs(tensors: dict[str, Tensor], family: Family | None) -> dict[str, tuple[Tensor, Tensor]]:
    """A (R, in) and B (out, R) of each module. Raises ValueError for any other tensor, and for A or B alone."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        place = re.fullmatch(rf"{re.escape(PREFIX)}(.+)\.lora_([AB])\.weight", key)
        if place is None or tensor.dim() != 2:
            raise ValueError(f"holds the tensor {key}, which is none of a LoRA of linear layers")
        found.setdefault(place[1], {})[place[2]] = tensor
    if family is not None and not any(module.startswith((family.trunk, family.head)) for module in found):
        found = {family.trunk + module: pair for module, pair in found.items()}  # of the trunk alone: short names
    for module, pair in found.items():
        if len(pair) < 2:
            raise ValueError(f"of {module} it holds lora_{next(iter(pair))} without the other")
        if pair["A"].size(0) != pair["B"].size(1):
            ranks = f"{pair['A'].size(0)} and {pair['B'].size(1)}"
            raise ValueError(f"lora_A and lora_B of {module} are of different ranks, {ranks}")
    if not found:
        raise ValueError("holds no tensors")
    return {module: (pair["A"], pair["B"]) for module, pair in found.items()}


def _check_complete(pairs: dict, places: dict[str, list[Slot]], settings: dict) -> None:
    """Raises ValueError for a module that the model does not have, and for one that the settings name in vain."""
    for module in sorted(pairs.keys() - places.keys()):
        raise ValueError(f"{module} is adapted, and this model has no linear layer of that name")
    targets = settings.get("target_modules")
    if not isinstance(targets, list) or settings.get("exclude_modules") or settings.get("layers_to_transform"):
        return  # patterns: the tensors say what they matched
    for module in sorted(places.keys() - pairs.keys()):
        if any(f".{module}".endswith(f".{target}") for target in targets):
            raise ValueError(f"lacks the tensors of {module}, which target_modules names")


def _split(module: str, A: Tensor, B: Tensor, places: list[Slot], method: LoRA) -> dict[str, tuple]:
    """The method, A and B of each part of a module of theirs, by its path."""
    if A.size(0) != method.rank:
        raise ValueError(f"the rank of {module} is {A.size(0)}, where {CONFIG_FILE} says {method.rank}")
    sizes = [slot.bare.out_features for slot in places]
    if (len(B), A.size(1)) != (sum(sizes), places[0].bare.in_features):
        expected = [sum(sizes), places[0].bare.in_features]
        raise ValueError(f"the change of {module} is {[len(B), A.size(1)]}, where the model has {expected}")
    rows = B.split(sizes)
    used = torch.stack([part.ne(0).any(0) for part in rows])  # (parts, R)
    found = {}
    for slot, part, own in zip(places, rows, used):
        mine = own | ~used.any(0)
        if mine.any():
            found[slot.path] = (_of_rank(method, int(mine.sum())), A[mine], part[:, mine])
    return found


def _join(places: list[Slot], found: dict[str, LoRALinear]) -> tuple[LoRA, Tensor, Tensor]:
    """The method, A and B of a module of theirs, all parts together; undoes `_split`."""
    there = [found[slot.path] for slot in places if slot.path in found]
    first = there[0]
    shared = all(torch.equal(adapter.A, first.A) for adapter in there)
    rank = first.method.rank if shared else sum(adapter.method.rank for adapter in there)
    start, rows = 0, []
    for slot in places:
        row = first.B.new_zeros(slot.bare.out_features, rank)
        if slot.path in found:
            own = found[slot.path]
            # One scale is left for all parts: that of the first.
            row[:, start : start + own.method.rank] = own.B.detach() * (own.method.scale / first.method.scale)
            start += 0 if shared else own.method.rank
        rows.append(row)
    A = first.A if shared else torch.cat([adapter.A for adapter in there])
    return _of_rank(first.method, rank), A.detach(), torch.cat(rows)


def _of_rank(method: LoRA, rank: int) -> LoRA:
    """The same scale with another rank."""
    ratio = rank / method.rank
    return replace(method, rank=rank, alpha=method.alpha * (math.sqrt(ratio) if method.rank_stabilised else ratio))
