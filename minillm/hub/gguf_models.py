"""Models in GGUF files: their settings and tensors under Hugging Face's names, so that they go the same way in and out.

A row of `ARCHITECTURES` says what a kind of model calls them. The pairs of channels that rotary positions turn stand
side by side in some (`paired`), half a head apart in Hugging Face's files and here. Llama 3's scaled positions are
stored as what each frequency is divided by, of which the settings are found again. Left out: experts, encoders.
"""

import math
import re
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from minillm.hub.families import FAMILIES, USUAL, Tensors
from minillm.hub.gguf import GGUF, Stored


class Architecture(NamedTuple):
    """How GGUF writes a family; settings and names are theirs -> Hugging Face's."""

    family: str
    settings: dict[str, str]
    names: dict[str, str]
    paired: bool = False  # whether rows of queries and keys are in the order of rotary pairs
    turned: bool = False  # whether Hugging Face's matrices, not those of the file, are (in, out)


_SIZES = {
    "context_length": USUAL["context"],
    "embedding_length": USUAL["width"],
    "block_count": USUAL["layers"],
    "attention.head_count": USUAL["heads"],
    "feed_forward_length": USUAL["hidden"],
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
}
_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_AFTER = {"post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
ARCHITECTURES = {
    "llama": Architecture("llama", _SIZES, _NAMES, paired=True),
    "qwen2": Architecture("qwen2", _SIZES, _NAMES),
    "qwen3": Architecture("qwen3", _SIZES, _NAMES),
    "smollm3": Architecture("smollm3", _SIZES, _NAMES, paired=True),
    "olmo2": Architecture("olmo2", _SIZES, _NAMES | _AFTER),
    "gpt2": Architecture(
        "gpt2",
        {
            "context_length": "n_positions",
            "embedding_length": "n_embd",
            "block_count": "n_layer",
            "attention.head_count": "n_head",
            "feed_forward_length": "n_inner",
            "attention.layer_norm_epsilon": "layer_norm_epsilon",
        },
        {
            "token_embd": "transformer.wte",
            "position_embd": "transformer.wpe",
            "output_norm": "transformer.ln_f",
            "output": "lm_head",
            "attn_norm": "ln_1",
            "attn_qkv": "attn.c_attn",
            "attn_output": "attn.c_proj",
            "ffn_norm": "ln_2",
            "ffn_up": "mlp.c_fc",
            "ffn_down": "mlp.c_proj",
        },
        turned=True,
    ),
}
EMBEDDING, OUTPUT, FACTORS = "token_embd.weight", "output.weight", "rope_freqs.weight"
LLAMA_3 = 1.0, 4.0, 8192  # low_freq_factor, high_freq_factor, original_max_position_embeddings of all its models


def architecture_of(file: GGUF) -> Architecture:
    """The row of the file's architecture. Raises: ValueError for one that we do not have."""
    name = file.metadata.get("general.architecture")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise ValueError(f"general.architecture is {str(name)[:80]!r}, and only {', '.join(ARCHITECTURES)} are known")
    return ARCHITECTURES[name]


def settings_of(file: GGUF) -> dict:
    """What config.json would say. Raises: ValueError for what we do not have."""
    row, name = architecture_of(file), file.metadata["general.architecture"]
    said = {key.removeprefix(f"{name}."): value for key, value in file.metadata.items()}
    if EMBEDDING not in file.tensors:
        raise ValueError(f"lacks the tensor {EMBEDDING}")
    found = {theirs: said[key] for key, theirs in row.settings.items() if key in said}
    found |= {"model_type": row.family, "vocab_size": file.tensors[EMBEDDING].shape[0]}
    found["tie_word_embeddings"] = row.family == "gpt2" or OUTPUT not in file.tensors
    if not row.turned:
        heads, width = (found.get(key) for key in ("num_attention_heads", "hidden_size"))
        if not (type(heads) is type(width) is int and 0 < heads <= width):
            raise ValueError(f"{name}.attention.head_count is {heads} where {name}.embedding_length is {width}")
        found.setdefault("head_dim", width // heads)
        turned = said.get("rope.dimension_count", found["head_dim"])
        if turned != found["head_dim"]:
            raise ValueError(f"{name}.rope.dimension_count is {turned}, and only whole heads are supported")
        found |= _scaling(said, file.tensors.get(FACTORS), found["head_dim"], found.get("rope_theta", 1e4))
    return found


def _scaling(said: dict, factors: Stored | None, head_dim: int, theta: float) -> dict:
    """What config.json would say of scaled rotary positions."""
    kind = said.get("rope.scaling.type", "none")
    if factors is None:
        linear = {"rope_type": "linear", "factor": said.get("rope.scaling.factor")}
        return {} if kind == "none" else {"rope_scaling": linear if kind == "linear" else {"rope_type": kind}}
    stored, (low, high, original) = factors.numbers(), LLAMA_3
    factor = stored.max().item()
    if stored.shape != (head_dim // 2,) or not math.isfinite(factor) or factor <= 0:
        raise ValueError(f"{FACTORS} are {list(stored.shape)} numbers up to {factor}, where {head_dim // 2} are wanted")
    scaling = {"rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high}
    scaling["original_max_position_embeddings"] = original
    if not torch.allclose(stored, scaled_by(scaling, head_dim, theta), rtol=1e-3):
        raise ValueError(f"{FACTORS} scale rotary positions in a way that is not Llama 3's, and only that is supported")
    return {"rope_scaling": scaling}


def scaled_by(scaling: dict, head_dim: int, theta: float) -> Tensor:
    """What Llama 3 divides each frequency by, (D/2,); the arguments are of config.json."""
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] / (2 * math.pi)
    turns = turns * theta ** (-torch.arange(0, head_dim, 2) / head_dim)
    keep = ((turns - low) / (high - low)).clamp(0, 1)
    return 1 / (keep + (1 - keep) / scaling["factor"])


def tensors_of(file: GGUF, settings: dict, dtype: torch.dtype) -> Tensors:
    """All tensors in a dtype, as Hugging Face has them; a name that is not known stays as it is."""
    row, found = architecture_of(file), {}
    for name, stored in file.tensors.items():
        if name != FACTORS:
            theirs = rename(row, name)
            tensor = stored.numbers(dtype)
            if row.turned and tensor.dim() == 2 and name.startswith("blk."):
                tensor = tensor.T
            found[theirs] = paired(tensor, theirs, settings, unpair) if row.paired else tensor
            file.file.release()
    return found


def rename(row: Architecture, name: str) -> str:
    """Hugging Face's name of a tensor of the file."""
    layer, module, last = re.match(r"(?:blk\.(\d+)\.)?(.*)\.(\w+)$|", name).groups()
    if module not in row.names:
        return name
    return (FAMILIES[row.family].layer.format(layer) if layer else "") + f"{row.names[module]}.{last}"


def paired(tensor: Tensor, name: str, settings: dict, change: Callable[[Tensor, int], Tensor]) -> Tensor:
    """The tensor with the rows of its heads in another order, if it is one of queries or keys."""
    place = re.search(r"\.([qk])_proj\.", name)
    if not place:
        return tensor
    heads = settings["num_attention_heads"]
    heads = settings.get("num_key_value_heads") or heads if place[1] == "k" else heads
    if type(heads) is not int or heads < 1 or len(tensor) % (2 * heads):
        raise ValueError(f"{name} of {len(tensor)} rows cannot be that of {heads} heads")
    return change(tensor, heads)


def unpair(tensor: Tensor, heads: int) -> Tensor:
    """Rows of heads: first the first of all pairs, then the second."""
    return tensor.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def pair(tensor: Tensor, heads: int) -> Tensor:
    """Undo `unpair`."""
    return tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)
