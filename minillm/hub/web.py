"""A model and its tokenizer as a web page reads them (`report/page`): sizes, parts, the weights in one row of bytes.

Weights are fp32, fp16, or int8 and int4 in groups of a row, each with a scale in fp16, of int4 also with its least
number: GGUF's Q8_0 and Q4_1, so that a model in one of them loses nothing. What has no columns stays in fp16. Adapters
stay beside the weights, so that the page can switch them off.
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from minillm import peft
from minillm.models import RECIPES
from minillm.text import TIDY, Pipeline, Tokenizer, pattern_for_tiktoken
from minillm.training import describe

PRECISIONS = ("fp32", "fp16", "int8", "int4")
GROUP = 32  # numbers that share a scale
BLOCKS = {
    "PostNormBlock": "post",
    "ParallelBlock": "parallel",
    "BranchNormBlock": "branch",
    "SandwichBlock": "sandwich",
}
NORMS = {"PlainNorm": "plain", "LayerNorm": "layer", "RMSNorm": "rms", "SteadyRMSNorm": "rms", "OnePlusRMSNorm": "rms1"}
ACTIVATIONS = {"ReLUSquared": "relu2", "SiLU": "silu", "GELU": "gelu"}
HEADS = {"LMHead": "plain", "CappedLMHead": "plain", "MaskedLMHead": "masked"}


class WebModel(NamedTuple):
    """What a page needs of a model: a description for JSON, where each tensor stands in the bytes, and the bytes."""

    description: dict
    entries: list[dict]
    data: bytes


@torch.no_grad()
def web_model(model: nn.Module, precision: str = "fp16") -> WebModel:
    """A model for the page, its adapters beside it.

    Raises: ValueError for what the page cannot run.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    whole = peft.bare(model)
    trunk = getattr(whole, "trunk", model)
    bare, path = peft.bare(trunk), "" if trunk is model else "trunk"
    config = transformer_config(bare) if hasattr(bare, "blocks") else vars(bare.config)
    on, tensors = adapter_parts(trunk)
    tensors |= {name: weight for name, weight in weights_of(trunk, bare) if not (path and name.startswith("head."))}
    description = {"kind": type(bare).__name__, "config": dict(config), "adapters": on}
    description |= {"parameters": sum(p.numel() for p in bare.parameters())}
    if path:
        description["config"]["head"] = ""  # of the trunk: it is not used
        description["top"] = {key: value for key, value in describe(whole).items() if key != "trunk"}
        tensors |= {f"top.{name}": p for name, p in whole.named_parameters() if not name.startswith("trunk.")}
    entries, data = pack(tensors.items(), precision)
    return WebModel(description, entries, data)


def transformer_config(model: nn.Module) -> dict:
    """Sizes and parts of a trunk, as `model.js` asks for them."""
    c, recipe, details = model.config, RECIPES[model.config.recipe], model.config.details
    block, activation = model.blocks[0], recipe.activation()
    turns, pairs = turns_of(model), details.rotated(c.head_dim) // 2
    plain = ("vocab_size", "context", "layers", "width", "heads", "groups", "head_dim", "recipe", "segments", "tied")
    further = ("pattern", "window", "query_scale", "score_cap", "logit_cap")
    return {
        **{name: getattr(c, name) for name in plain},
        **{name: getattr(details, name) for name in further},
        "causal": model.causal,
        "eps": c.norm_eps,
        "norm": NORMS[recipe.norm.__name__],
        "block": BLOCKS.get(type(block).__name__, "usual"),
        "activation": ACTIVATIONS[type(activation).__name__]
        + ("_tanh" if getattr(activation, "approximate", "") == "tanh" else ""),
        "gated": hasattr(block.feed_forward, "gate"),
        "head": HEADS[type(peft.bare(model.head)).__name__],
        "qk": "plain" if recipe.normalise_qk else normed(block.attention),
        "times": getattr(model.first_norm, "factor", 0),
        "turns": turns[:pairs],
        "local_turns": turns[pairs:] or None,
    }


def normed(attention: nn.Module) -> str:
    """Whether queries and keys have norms with weights: on each "head", or on "all" together."""
    if isinstance(getattr(attention, "query_norm", nn.Identity()), nn.Identity):
        return ""
    return "head" if attention.spans == (attention.head_dim, attention.head_dim) else "all"


def turns_of(model: nn.Module) -> list[float]:
    """By how much each pair of channels is rotated from one position to the next; nothing for learned positions."""
    if model.position is not None or len(model.cos) < 2:
        return []
    return torch.atan2(model.sin[1], model.cos[1]).tolist()


def weights_of(trunk: nn.Module, bare: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The weights of a trunk by their paths without adapters; one that is tied, once."""
    tied = getattr(getattr(bare, "embedding", None), "weight", None)
    for slot in peft.slots(trunk):
        for key, p in slot.bare._parameters.items():
            if p is not None and not (p is tied and slot.path != "embedding"):
                yield f"{slot.path}.{key}".lstrip("."), p


def adapter_parts(trunk: nn.Module) -> tuple[dict[str, list[dict]], dict[str, Tensor]]:
    """What stands on each part of a trunk, by path, and the tensors of it.

    Raises: ValueError for a soft prompt beside another one.
    """
    on: dict[str, list[dict]] = {}
    tensors: dict[str, Tensor] = {}
    for number, (path, adapter) in enumerate(peft.adapters(trunk)):
        kind, parts, settings = part_of(adapter)
        names = {key: f"adapter.{number}.{key}" for key in parts}
        tensors |= {names[key]: part.detach().float() for key, part in parts.items()}
        if kind == "prompt":
            rows = [{"table": names["table"], "row": row} for row in range(len(parts["table"]))]
            names = {"vectors": rows}
        on.setdefault(path, []).append({"kind": kind, "name": adapter.name, **names, **settings})
    return on, tensors


def part_of(adapter: peft.Adapter) -> tuple[str, dict[str, Tensor], dict]:
    """What an adapter does, to `model.js`; the tensors it does it with; and what else is to be said."""
    kind, key = type(adapter).__name__, adapter.method.key
    if kind == "LoRALinear":
        return "low", {"A": adapter.A, "B": adapter.method.scale * adapter.B}, {}
    if kind == "SVDLinear":
        return "low", {"A": adapter.Q, "B": adapter.method.scale * adapter.P * adapter.E}, {}
    if key == "ia3":
        return "scale_in" if adapter.inputs else "scale", {"vector": adapter.scale}, {}
    if key == "bitfit":
        return "shift", {"vector": adapter.shift}, {}
    if key == "adapter":
        down, up = adapter.down, adapter.up
        return "detour", {"down": down.weight, "down_bias": down.bias, "up": up.weight, "up_bias": up.bias}, {}
    if key in ("prompt", "ptuning"):
        return "prompt", {"table": adapter.vectors()}, {}
    if key == "prefix":
        keys, values = adapter.source()
        return "prefix", {"keys": keys, "values": values}, {}
    if key == "llama_adapter":
        _, keys, values = adapter.attention[0].project(adapter.prompt[None], None)
        return "gated", {"keys": keys[0], "values": values[0]}, {"gate": float(adapter.gate)}
    raise ValueError(f"an adapter of the kind {key} has no place in a page")


def pack(tensors: Iterable[tuple[str, Tensor]], precision: str) -> tuple[list[dict], bytes]:
    """Tensors one behind the other, and where each stands: {"name", "shape", "at", "kind", "group"}."""
    entries, data = [], bytearray()
    for name, tensor in tensors:
        tensor = tensor.detach().float().cpu()
        kind = "fp16" if precision.startswith("int") and tensor.dim() != 2 else precision
        entries.append({"name": name, "shape": list(tensor.shape), "at": len(data), "kind": kind})
        if kind.startswith("int"):
            entries[-1]["group"] = GROUP
            data += quantised(tensor, kind)
        else:
            data += tensor.numpy().astype("<f4" if kind == "fp32" else "<f2").tobytes()
        data += b"\0" * (-len(data) % 4)
    return entries, bytes(data)


def grouped(matrix: Tensor, precision: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whole numbers (R, C) for a matrix, and of each group of a row the scale and the least number, (R, groups) fp16.

    A number is its whole number times the scale; of int4, 0 to 15, plus the least number of its group.
    Source: llama.cpp, Q8_0 and Q4_1.
    """
    rows, columns = matrix.shape
    padded = np.zeros((rows, math.ceil(columns / GROUP) * GROUP), np.float32)
    padded[:, :columns] = matrix.numpy()
    padded[:, columns:] = padded[:, columns - 1 : columns]  # changes neither the least nor the largest
    groups = padded.reshape(rows, -1, GROUP)
    if precision == "int8":
        low = np.zeros(groups.shape[:2], "<f2")
        scales, ends = (np.abs(groups).max(-1) / 127).astype("<f2"), (-127, 127)
    else:
        low = groups.min(-1).astype("<f2")
        scales, ends = ((groups.max(-1) - low.astype(np.float32)) / 15).astype("<f2"), (0, 15)
    safe = np.where(scales == 0, 1, scales).astype(np.float32)[..., None]
    whole = np.clip(np.rint((groups - low.astype(np.float32)[..., None]) / safe), *ends).astype(np.int8)
    return whole.reshape(rows, -1)[:, :columns], scales, low


def quantised(matrix: Tensor, precision: str) -> bytes:
    """The bytes of a matrix in groups: the scales, of int4 the least numbers, the numbers, two in a byte, one low."""
    whole, scales, low = grouped(matrix, precision)
    data = b""
    for numbers in (scales, low) if precision == "int4" else (scales,):
        data += numbers.tobytes()
        data += b"\0" * (-len(data) % 4)
    flat = whole.reshape(-1)
    if precision == "int8":
        return data + flat.tobytes()
    flat = np.append(flat, [0] * (len(flat) % 2)).astype(np.uint8)
    return data + (flat[0::2] | (flat[1::2] << 4)).tobytes()


def rounded_weights(model: nn.Module, precision: str) -> None:
    """Give a model the weights that a page has of it, in place: for comparing the two, and for measuring the loss."""
    for parameter in {id(p): p for p in model.parameters()}.values():
        if precision.startswith("int") and parameter.dim() == 2:
            whole, *ends = grouped(parameter.detach().float(), precision)
            scales, low = (np.repeat(end.astype(np.float32), GROUP, axis=1)[:, : parameter.size(1)] for end in ends)
            parameter.data = torch.from_numpy(whole * scales + low)
        elif precision != "fp32":
            parameter.data = parameter.data.half().float()


def web_tokenizer(tokenizer: Tokenizer) -> dict:
    """A tokenizer as `tokenizer.js` reads it: what each id stands for, and how a text is cut and merged.

    Raises: ValueError for one that cuts a text in another way than GPT-2's, Llama 3's or BERT's kind.
    """
    roles = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "mask": tokenizer.mask_id, "cls": tokenizer.cls_id}
    roles |= {"sep": tokenizer.sep_id, "begin": list(tokenizer.begin), "stop": sorted(tokenizer.stop_ids)}
    engine = tokenizer.engine
    if not isinstance(engine, Pipeline):
        own = engine.record()
        return {name: own[name] for name in ("kind", "pattern", "tokens", "specials")} | roles
    specials = {token.content: token.id for token in engine.added}
    tokens: list[str | None] = [None] * tokenizer.vocab_size
    said, model = engine.description, engine.model
    if engine.kind == "WordPiece":
        for name, i in model.vocab.items():
            tokens[i] = name
        return {"kind": "wordpiece", "tokens": tokens, "specials": specials, "unknown": model.unknown,
                "longest": model.longest, "bert": bert_normal(said),
                "tidies": TIDY if (said["decoder"] or {}).get("cleanup", True) else [], **roles}  # fmt: skip
    pattern = pattern_for_tiktoken(said["pre_tokenizer"])
    normal = said["normalizer"] or {"type": ""}
    if pattern is None or not engine.byte_level or normal["type"] not in ("", "NFC", "NFKC"):
        raise ValueError("the page knows byte-level BPE and WordPiece, and this model's tokenizer is of another kind")
    for i, shown in engine.bytes.items():
        tokens[i] = shown.decode("latin-1")
    merges = [[a, b, token] for (a, b), (_, token) in sorted(model.ranks.items(), key=lambda item: item[1][0])]
    return {"kind": "bpe", "pattern": pattern[0], "prefix": pattern[1], "normal": normal["type"], "tokens": tokens,
            "specials": specials, "merges": merges, "whole": model.whole_words, **roles}  # fmt: skip


def bert_normal(said: dict) -> dict:
    """What BERT's normaliser does to a text. Raises: ValueError for another one."""
    part, cut = said["normalizer"] or {}, said["pre_tokenizer"] or {}
    if (part.get("type"), cut.get("type")) != ("BertNormalizer", "BertPreTokenizer"):
        raise ValueError("the page knows WordPiece with BERT's normaliser, and this model's tokenizer has another")
    lower, accents = part.get("lowercase", True), part.get("strip_accents")
    clean, ideographs = part.get("clean_text", True), part.get("handle_chinese_chars", True)
    return {"clean": clean, "ideographs": ideographs, "lower": lower, "accents": lower if accents is None else accents}
