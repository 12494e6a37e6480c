"""A model as a GGUF file, which llama.cpp and its kin run, and other libraries read.

What is written is what `gguf` reads: fields, a table, the tensors; matrices in a type of choice, all else in 32 bits.
The names are those of `gguf_models`, from our models by way of Hugging Face's. A tokenizer comes as fields, ready made
(`gguf_vocabulary` makes them). Left out: the K-quants, whose scales have scales.
"""

import os
import re
import struct
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from minillm.hub.gguf import ALIGNMENT, ARRAY, MAGIC, SCALARS, TEXT, VERSIONS
from minillm.hub.gguf_blocks import TYPES
from minillm.hub.gguf_models import ARCHITECTURES, FACTORS, pair, paired, scaled_by
from minillm.hub.gguf_tokenizer import KEY, UNUSED
from minillm.hub.huggingface import pack_trunk
from minillm.models import BLOCK, quantize_blocks
from minillm.system import write_atomic
from minillm.training import unwrap

QUANTIZED = {"Q8_0": 8, "Q5_0": 5, "Q4_0": 4}  # bits of a weight
WRITTEN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, **dict.fromkeys(QUANTIZED)}
FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7, "Q5_0": 8, "BF16": 32}  # general.file_type
NUMBERS = {kind.name: number for number, kind in TYPES.items()}
TOKENS, TOKEN_TYPES = f"{KEY}tokens", f"{KEY}token_type"
UINT32, INT32, FLOAT32, BOOL = 4, 5, 6, 7  # of fields


def save_gguf(
    model: nn.Module, path: str | os.PathLike, tokenizer: dict | None = None, kind: str = "F16", name: str = "minillm"
) -> None:
    """Write a model.

    Args:
        tokenizer: the fields that begin with "tokenizer.", as of `tokenizer_fields`
        kind: the type of matrices: a key of WRITTEN; a matrix whose rows are no whole blocks of few bits gets F16
        name: of the model, for people
    Raises: ValueError for a model that has no architecture there, and for an unknown type.
    """
    if kind not in WRITTEN:
        raise ValueError(f"GGUF is written with matrices of {', '.join(WRITTEN)}, not of {kind!r}")
    family, settings, tensors = pack_trunk(unwrap(model))
    homes = [name for name, row in ARCHITECTURES.items() if row.family == settings["model_type"]]
    if not homes:
        known = ", ".join(row.family for row in ARCHITECTURES.values())
        raise ValueError(f"a model of type {settings['model_type']} cannot be written as GGUF: {known} can")
    row = ARCHITECTURES[homes[0]]
    fields = {"general.architecture": homes[0], "general.name": name, "general.file_type": FILE_TYPES[kind]}
    said = {**settings, "rope_theta": settings.get("rope_theta", 1e4)} if not row.turned else settings
    for key, theirs in row.settings.items():
        if said.get(theirs) is not None:
            fields[f"{homes[0]}.{key}"] = said[theirs]
    if not row.turned:
        head_dim = settings.get("head_dim") or model.config.head_dim
        fields |= {f"{homes[0]}.rope.dimension_count": head_dim, f"{homes[0]}.attention.key_length": head_dim}
        fields[f"{homes[0]}.attention.value_length"] = head_dim
    fields[f"{homes[0]}.vocab_size"] = settings["vocab_size"]
    scaling = settings.get("rope_scaling")
    back = {theirs: ours for ours, theirs in row.names.items()}
    stored = {}
    for theirs, tensor in tensors.items():
        tensor = tensor.T if row.turned and tensor.dim() == 2 and family.layer.split("{")[0] in theirs else tensor
        stored[_name(theirs, family.layer, back)] = paired(tensor, theirs, settings, pair) if row.paired else tensor
    if scaling and scaling["rope_type"] == "linear":
        fields |= {f"{homes[0]}.rope.scaling.type": "linear", f"{homes[0]}.rope.scaling.factor": scaling["factor"]}
    elif scaling:
        stored[FACTORS] = scaled_by(scaling, head_dim, settings["rope_theta"])
    write_gguf(path, fields | _filled(tokenizer or {}, settings["vocab_size"]), stored, kind)


def _filled(tokenizer: dict, size: int) -> dict:
    """The fields with as many tokens as the model has: readers take its size from them."""
    rest = range(len(tokenizer.get(TOKENS, ())), size if TOKENS in tokenizer else 0)
    more = {TOKENS: [f"[PAD{i}]" for i in rest], TOKEN_TYPES: [UNUSED for _ in rest]}
    return tokenizer | {name: tokenizer[name] + added for name, added in more.items() if rest}


def _name(theirs: str, layer: str, back: dict[str, str]) -> str:
    """The name in the file of a tensor of Hugging Face's."""
    module, _, last = theirs.rpartition(".")
    place = re.fullmatch(re.escape(layer).replace(r"\{\}", r"(\d+)") + r"(.+)", module)
    return f"blk.{place[1]}.{back[place[2]]}.{last}" if place else f"{back[module]}.{last}"


def write_gguf(path: str | os.PathLike, fields: dict, tensors: dict[str, Tensor], kind: str = "F32") -> None:
    """Write fields (texts, numbers, truths, and lists of one kind of these) and tensors as a file."""
    alignment, table, chunks, offset = ALIGNMENT[1], [], [], 0
    for name, tensor in tensors.items():
        own = kind if tensor.dim() > 1 else "F32"
        own = "F16" if own in QUANTIZED and tensor.size(-1) % BLOCK else own
        size = tensor.numel() // TYPES[NUMBERS[own]].values * TYPES[NUMBERS[own]].size
        shape = tuple(tensor.shape)[::-1]
        table.append(_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, NUMBERS[own], offset))
        chunks.append((tensor, own))
        offset += size + -size % alignment
    head = MAGIC + struct.pack("<IQQ", VERSIONS[-1], len(tensors), len(fields))
    head += b"".join(_text(name) + _value(value) for name, value in fields.items()) + b"".join(table)
    write_atomic(path, _pieces(head, chunks, alignment))


def _pieces(head: bytes, chunks: list[tuple[Tensor, str]], alignment: int) -> Iterator[bytes]:
    yield head + b"\0" * (-len(head) % alignment)
    for tensor, kind in chunks:
        data = _packed(tensor.detach().cpu(), kind)
        yield data
        yield b"\0" * (-len(data) % alignment)


def _packed(tensor: Tensor, kind: str) -> bytes:
    """The bytes of a tensor in a type."""
    if kind in QUANTIZED:
        return quantized(tensor, kind)
    return tensor.to(WRITTEN[kind]).contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def quantized(values: Tensor, kind: str) -> bytes:
    """The blocks of numbers in few bits: of each 32 a scale in 16 bits and then their bits, in the order of ggml."""
    scale, q = quantize_blocks(values, QUANTIZED[kind])
    scale, q = scale.numpy().view(np.uint8), q.numpy()
    if kind == "Q8_0":
        return np.hstack((scale, q.view(np.uint8))).tobytes()
    raised = (q + np.int8(2 ** (QUANTIZED[kind] - 1))).view(np.uint8)  # from 0 up
    low = (raised[:, :16] & 15) | (raised[:, 16:] & 15) << 4
    fifth = [np.packbits(raised >> 4, axis=1, bitorder="little")] if kind == "Q5_0" else []
    return np.hstack((scale, *fifth, low)).tobytes()


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _form(value) -> int:
    """The type of a scalar, bool before int."""
    if isinstance(value, bool):
        return BOOL
    return FLOAT32 if isinstance(value, float) else INT32 if value < 0 else UINT32


def _value(value) -> bytes:
    """A type and a value."""
    if isinstance(value, str):
        return struct.pack("<I", TEXT) + _text(value)
    if not isinstance(value, list):
        return struct.pack(f"<I{SCALARS[_form(value)]}", _form(value), value)
    head = struct.pack("<I", ARRAY)
    if not value or isinstance(value[0], str):
        return head + struct.pack("<IQ", TEXT, len(value)) + b"".join(map(_text, value))
    form = FLOAT32 if isinstance(value[0], float) else INT32
    return head + struct.pack(f"<IQ{len(value)}{SCALARS[form]}", form, len(value), *value)
