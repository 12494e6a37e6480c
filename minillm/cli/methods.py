"""What of a trained model learns, from the command line: `--method` and its flags, and what they do to a model."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from minillm import peft
from minillm.cli.flags import auto, flag, flag_name, group
from minillm.hub import dtype_of_others, rebuild
from minillm.peft import train_all, train_head, train_last, train_norms
from minillm.system import Compute
from minillm.text import Tokenizer
from minillm.training import LossFunction, RunFolder, describe, penalised

SELECTIVE = ("full", "head", "last", "norm")
METHODS = SELECTIVE + tuple(peft.METHODS)
# Which settings of which methods a flag sets: flag -> {method: field}
METHOD_FIELDS = {
    "rank": {"lora": "rank", "adalora": "rank", "adapter": "rank"},
    "target_rank": {"adalora": "target_rank"},
    "alpha": {"lora": "alpha", "adalora": "alpha"},
    "adapter_dropout": {"lora": "dropout", "adalora": "dropout"},
    "rank_stabilised": {"lora": "rank_stabilised", "adalora": "rank_stabilised"},
    "targets": dict.fromkeys(("lora", "adalora", "ia3", "bitfit", "adapter"), "targets"),
    "prompt_length": dict.fromkeys(("prompt", "ptuning", "prefix", "llama_adapter"), "length"),
    "prompt_text": dict.fromkeys(("prompt", "prefix"), "tokens"),
    "prompt_network": {"ptuning": "inner", "prefix": "inner"},
}


@dataclass(frozen=True, kw_only=True)
class AdapterSettings:
    """Adapter. What is auto or empty, the method chooses."""

    adapter_learning_rate: float | None = auto("peak rate of AdamW for what an adapter learns; auto: the method's own")
    also: str = flag("", "parts of the model that learn beside an adapter, such as embedding,head")
    rank: int | None = auto("of lora, adalora (at first), adapter: channels of the low-rank branch")
    target_rank: float | None = auto("of adalora: ranks of a layer in the end, on average; auto: half")
    alpha: float | None = auto("of lora, adalora: how much the change counts; it is divided by the rank")
    rank_stabilised: bool = flag(False, "of lora, adalora: divide by the root of the rank instead")
    adapter_dropout: float = flag(0.0, "of lora, adalora: share of the inputs dropped")
    targets: str = flag("", "of lora, adalora, ia3, bitfit, adapter: parts to adapt, such as query,value")
    prompt_length: int | None = auto("of prompt, ptuning, prefix, llama_adapter: vectors")
    prompt_text: str = flag("", "of prompt, prefix: the text to begin as")
    prompt_network: int | None = auto("of ptuning, prefix: width of the network through which the vectors learn")


@dataclass(frozen=True, kw_only=True)
class MethodSettings:
    """What learns. What is auto or empty, the method chooses."""

    method: str = flag(
        "full",
        "what learns: everything; the output layer alone; the last layers; the norms; or an adapter on a frozen model",
        choices=METHODS,
    )
    last: int | None = auto("layers that learn, with --method last; auto: one")
    layer_decay: float = flag(1.0, "a layer's rates over those of the layer above; 1: one rate in all layers")
    unfreeze: bool = flag(False, "let the layers begin to learn one after another, from the output down")
    adapter: AdapterSettings = group(AdapterSettings)


@dataclass(frozen=True)
class Prepared:
    """A model that is ready to be tuned."""

    model: nn.Module
    learns: str  # what, for people
    adapter: str = ""  # its name, where there is one
    rate: float = 0.0  # of its AdamW
    penalty: Callable | None = None  # what its loss has besides the task's
    allocates: bool = False  # whether something is to be done after each step

    def objective(self, objective: LossFunction) -> LossFunction:
        """The loss to learn from."""
        return penalised(objective, self.penalty) if self.penalty else objective

    def after_step(self, steps: int) -> Callable | None:
        """What `fit` calls after each step."""
        return peft.Budget(self.model, steps) if self.allocates else None


def frozen_dtype(run: RunFolder, settings: MethodSettings, compute: Compute) -> torch.dtype | None:
    """In which precision weights that others made are loaded: where none of them learns, that of the products."""
    return dtype_of_others(run, compute.dtype) if settings.method in peft.METHODS else None


def prepare(model: nn.Module, settings: MethodSettings, tokenizer: Tokenizer | None = None, seed: int = 0) -> Prepared:
    """Put the adapter on a model, freeze what is not to learn, and say what is left.

    `layer_decay` and `unfreeze` go to the optimizer: `TrainConfig` has settings of the same names.
    Raises: ValueError when the model lacks what the method trains, and for flags of other methods.
    """
    check(settings)
    if settings.method in peft.METHODS:
        return with_adapter(model, settings, tokenizer, seed)
    try:
        model = fold_adapters(model)
    except ValueError as error:
        raise ValueError(f"{error}; what such a run can begin with is another adapter: --method lora") from None
    if settings.method == "head":
        train_head(model)
    elif settings.method == "last":
        train_last(model, settings.last or 1)
    elif settings.method == "norm":
        train_norms(model)
        if has_head(model):
            model.head.requires_grad_(True)
    else:
        train_all(model)
    freeze_unused_head(model)
    return Prepared(model, count(model))


def fold_adapters(model: nn.Module) -> nn.Module:
    """The model with the adapters of the run that it came from merged into its weights.

    Raises: ValueError for adapters that cannot be merged.
    """
    if not peft.adapter_names(model):
        return model
    model = peft.remove(peft.merge(model))
    with torch.device("meta"):  # of a plain one the names alone
        plain = rebuild(describe(model))
    strange = model.state_dict().keys() - plain.state_dict().keys()
    if strange:
        raise ValueError(f"this {type(model).__name__} has no place for {sorted(strange)[0]}: keep the adapter")
    return model


def check(settings: MethodSettings) -> None:
    """Raises: ValueError for a flag that goes with another method."""
    method, adapter = settings.method, settings.adapter
    if settings.last and method != "last":
        raise ValueError(f"--last {settings.last} goes with --method last, not with {method}")
    for name in ("adapter_learning_rate", "also"):
        if getattr(adapter, name) and method in SELECTIVE:
            raise ValueError(f"{flag_name(name)} is for adapters, and --method {method} has none")
    for name, useless in (("layer_decay", settings.layer_decay != 1), ("unfreeze", settings.unfreeze)):
        if useless and method == "head":
            raise ValueError(f"{flag_name(name)} has no use here: with --method head one layer learns; leave it out")
    for name, methods in METHOD_FIELDS.items():
        if getattr(adapter, name) and method not in methods:
            raise ValueError(f"{flag_name(name)} goes with --method {' or '.join(methods)}, not with {method}")


def method_of(name: str, settings: AdapterSettings, tokenizer: Tokenizer | None) -> peft.Method:
    """The method that the flags describe; fields that no flag sets are the method's own."""
    fields = {}
    for setting, methods in METHOD_FIELDS.items():
        value = getattr(settings, setting)
        if value:
            if setting == "targets":
                value = parts_of(value)
            elif setting == "prompt_text":
                value = tuple(tokenizer.encode(value))
            fields[methods[name]] = value
    if "tokens" in fields and not settings.prompt_length:
        fields["length"] = len(fields["tokens"])
    if name == "adalora" and "rank" in fields and "target_rank" not in fields:
        fields["target_rank"] = fields["rank"] / 2
    return peft.METHODS[name](**fields)


def with_adapter(model: nn.Module, settings: MethodSettings, tokenizer: Tokenizer | None, seed: int) -> Prepared:
    """The model with an adapter on it; of the rest only a new head learns."""
    method = method_of(settings.method, settings.adapter, tokenizer)
    taken, number = peft.adapter_names(model), 1
    while (name := f"{method.key}-{number}") in taken:
        number += 1
    above = peft.output_layers(model) if has_head(model) else []
    model = peft.inject(model, method, name, torch.Generator().manual_seed(seed))
    peft.freeze(model, name, also=(*parts_of(settings.adapter.also), *above))
    for p in model.parameters():
        if p.requires_grad and p.dtype != torch.float64:
            p.data = p.data.float()  # what learns beside it, on weights of half precision
    known = {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}
    shown = ", ".join(f"{key} {value}" for key, value in known.items() if value and key != "tokens")
    ada = isinstance(method, peft.AdaLoRA)
    return Prepared(
        model,
        f"{method.key}{f' ({shown})' if shown else ''}: {count(model)}",
        name,
        settings.adapter.adapter_learning_rate or method.learning_rate,
        peft.orthogonality if ada else None,
        ada,
    )


def parts_of(names: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(part.strip() for part in names.split(",") if part.strip())


def has_head(model: nn.Module) -> bool:
    """Whether a model is a trunk with a new output layer on it."""
    return hasattr(model, "trunk") and hasattr(model, "head")


def freeze_unused_head(model: nn.Module) -> None:
    """Under a head, freeze the trunk's own output layer, which is not used there: it is not counted as learning."""
    trunk = getattr(model, "trunk", None)
    if hasattr(trunk, "head"):
        shared = {id(p) for name, p in trunk.named_parameters() if not name.startswith("head.")}
        for p in trunk.head.parameters():
            p.requires_grad_(p.requires_grad and id(p) in shared)


def count(model: nn.Module) -> str:
    """How much of a model learns, for people."""
    learns, there = (sum(p.numel() for p in model.parameters() if p.requires_grad or every) for every in (False, True))
    return f"{learns:,} of {there:,} parameters learn" + (f" ({learns / there:.2%})" if learns < there else "")
