"""A model as a GGUF file, which llama.cpp and its kin run, and other libraries read.

What is written is what `gguf` reads: fields, a table, the tensors; matrices in a type of choice, all else in 32 bits.
The names are those of `gguf_models`, from our models by way of Hugging Face's. A tokenizer comes as fields, ready made
(`tokenizer_fields` makes them of tokens and merges). Left out: quantisation to less than 8 bits.
"""

import os
import struct
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from minillm.hub.gguf import ALIGNMENT, ARRAY, MAGIC, TEXT, VERSIONS
from minillm.hub.gguf_blocks import TYPES
from minillm.hub.gguf_models import ARCHITECTURES, FACTORS, LLAMA_3, pair, paired, scaled_by
from minillm.hub.huggingface import pack_trunk
from minillm.system import write_atomic
from minillm.training import unwrap

WRITTEN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "Q8_0": None}
FILE_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7, "BF16": 32}  # general.file_type
NUMBERS = {kind.name: number for number, kind in TYPES.items()}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6  # types of tokens


def save_gguf(
    model: nn.Module, path: str | os.PathLike, tokenizer: dict | None = None, kind: str = "F16", name: str = "minillm"
) -> None:
    """Write a model.

    Args:
        tokenizer: the fields that begin with "tokenizer.", as of `tokenizer_fields`
        kind: the type of matrices: F32, F16, BF16 or Q8_0; one whose rows are no whole blocks gets F16 for Q8_0
        name: of the model, for people
    Raises: ValueError for a model that has no architecture there, and for an unknown type.
    """
    if kind not in WRITTEN:
        raise ValueError(f"GGUF is written with matrices of {', '.join(WRITTEN)}, not of {kind!r}")
    family, settings, tensors = pack_trunk(unwrap(model))
    homes = [name for name, row in ARCHITECTURES.items() if row.family == settings["model_type"]]
    if not homes:
        raise ValueError(f"a model of type {settings['model_type']} cannot be written as GGUF: {', '.join(ARCHITECTURES)} can")
