"""GGUF, the one file in which llama.cpp and its kin keep a model: what it says, and its tensors as numbers.

    "GGUF" | version | how many tensors, fields | fields: name, type, value | table: name, shape, type, offset | data

Every length, count and offset of the file is checked before it is used, so a damaged file costs one sentence and no
memory. Left out: big-endian files, arrays of arrays, the types that `gguf_blocks` does not have. The format:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import os
import struct
from collections import deque
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from minillm.hub.gguf_blocks import TYPES, Type
from minillm.system import MappedFile, reading

MAGIC, VERSIONS, MOST_DIMS = b"GGUF", (2, 3), 4
SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}  # types of fields, as struct calls them
TEXT, ARRAY = 8, 9
ALIGNMENT = "general.alignment", 32  # of the data, and of each tensor in it
AT_ONCE = 1 << 18  # values that are turned into numbers together


class Stored(NamedTuple):
    """A tensor in the file: its shape as torch has it, its type, its bytes."""

    shape: tuple[int, ...]
    type: Type
    data: memoryview

    def numbers(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The values, in memory of their own."""
        out = torch.empty(self.shape, dtype=dtype)
        step = AT_ONCE // self.type.values * self.type.size
        with np.errstate(all="ignore"):  # a damaged scale may be infinite, or no number
            for some, start in zip(out.view(-1).split(AT_ONCE), range(0, len(self.data), step)):
                blocks = np.frombuffer(self.data[start : start + step], np.uint8).reshape(-1, self.type.size)
                some.copy_(torch.from_numpy(self.type.unpack(blocks)).view(-1))
        return out


class GGUF(NamedTuple):
    """What a file holds: fields by name, tensors by name."""

    metadata: dict
    tensors: dict[str, Stored]
    file: MappedFile


class _Reader:
    """Takes one thing after another from the bytes of a file; ValueError where they end."""

    def __init__(self, data: memoryview, texts: bool):
        self.data, self.place, self.texts = data, 0, texts

    def take(self, size: int) -> memoryview:
        left = len(self.data) - self.place
        if size > left:
            raise ValueError(f"cut short or damaged: {size} bytes are to follow byte {self.place}, and {left} do")
        self.place += size
        return self.data[self.place - size : self.place]

    def numbers(self, form: str, count: int = 1) -> tuple:
        data = self.take(count * struct.calcsize(form))
        return struct.unpack(f"<{count}{form}", data)

    def text(self) -> str:
        return str(self.take(*self.numbers("Q")), "utf-8")

    def value(self, kind: int):
        if kind == TEXT:
            return self.text()
        if kind != ARRAY:
            return self.numbers(_form(kind))[0]
        (kind,), (count,) = self.numbers("I"), self.numbers("Q")
        if kind == TEXT:
            texts = (self.text() for _ in range(count))
            return list(texts) if self.texts else deque(texts, maxlen=0)
        return list(self.numbers(_form(kind), count))

    def table(self, count: int) -> dict[str, tuple[Type, list[int], int]]:
        """Type, shape and place of each tensor."""
        found = {}
        for _ in range(count):
            name, (dims,) = self.text(), self.numbers("I")
            if name in found or not 1 <= dims <= MOST_DIMS:
                raise ValueError(f"the tensor {name[:80]!r} has {dims} dimensions, or stands there twice")
            shape, (kind,), (offset,) = self.numbers("Q", dims), self.numbers("I"), self.numbers("Q")
            if kind not in TYPES:
                known = ", ".join(type_.name for type_ in TYPES.values())
                raise ValueError(f"the tensor {name[:80]!r} is of type {kind}, which is not supported: {known} are")
            if min(shape) < 1 or shape[0] % TYPES[kind].values:
                raise ValueError(f"the tensor {name[:80]!r} of {TYPES[kind].name} cannot have the shape {list(shape)}")
            found[name] = TYPES[kind], shape[::-1], offset
        return found


def _form(kind: int) -> str:
    if kind not in SCALARS:
        raise ValueError(f"a field of type {kind}, for which there is no use")
    return SCALARS[kind]


def read_gguf(path: str | os.PathLike, texts: bool = True) -> GGUF:
    """The fields and the tensors of a file. Raises: ValueError, naming it, for one that is not whole or not known.

    Args: texts: whether to keep lists of texts, such as a vocabulary, which takes a tenth of a small model's memory.
    """
    file = MappedFile(path)
    with reading(path):
        reader = _Reader(file.data, texts)
        if reader.take(4) != MAGIC:
            raise ValueError("no GGUF file: it does not begin with these four letters")
        (version,) = reader.numbers("I")
        if version not in VERSIONS:
            raise ValueError(f"version {version} of GGUF, and only {' and '.join(map(str, VERSIONS))} are known")
        (tensors, fields), metadata = reader.numbers("Q", 2), {}
        for _ in range(fields):
            name, (kind,) = reader.text(), reader.numbers("I")
            if name in metadata:
                raise ValueError(f"the field {name[:80]!r} stands there twice")
            metadata[name] = reader.value(kind)
        alignment = metadata.get(*ALIGNMENT)
        if type(alignment) is not int or alignment < 8 or alignment & (alignment - 1):
            raise ValueError(f"{ALIGNMENT[0]} is {alignment!r}, and must be a power of two from 8 on")
        table = reader.table(tensors)
        reader.take(-reader.place % alignment)
        return GGUF(metadata, _cut(table, file.data[reader.place :], alignment), file)


def _cut(table: dict[str, tuple[Type, list[int], int]], data: memoryview, alignment: int) -> dict[str, Stored]:
    """The bytes of each tensor, of which no two share one."""
    found, end = {}, 0
    for name, (kind, shape, offset) in sorted(table.items(), key=lambda entry: entry[1][2]):
        size = math.prod(shape) // kind.values * kind.size
        if offset < end or offset % alignment or offset + size > len(data):
            raise ValueError(
                f"the tensor {name[:80]!r}, {size} bytes from {offset} on, lies over another, is not aligned, or does "
                f"not fit into {len(data)} bytes"
            )
        end = offset + size
        found[name] = Stored(shape, kind, data[offset:end])
    return found
