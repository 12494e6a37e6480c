"""Reading and writing the safetensors format: eight bytes of header length, a JSON header, then the raw numbers.

Nothing is executed on reading. Files that we write also carry a checksum, so that a damaged one is noticed.
Left out: memory mapping, fp8.

The format: https://huggingface.co/docs/safetensors (any reader of it reads our files, and we read theirs).
"""

import hashlib
import json
import os
import struct

import torch
from torch import Tensor

from minillm.system.files import write_atomic

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def save_file(tensors: dict[str, Tensor], path: str | os.PathLike, metadata: dict[str, str] | None = None) -> None:
    """Write tensors (on any device; copies are made where one is not contiguous) and a dictionary of strings."""
    header, chunks, end = {}, [], 0
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        chunk = tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b""
        start, end = end, end + len(chunk)
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        chunks.append(chunk)
    header["__metadata__"] = {**(metadata or {}), "sha256": _checksum(header, metadata or {}, chunks)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    write_atomic(path, [struct.pack("<Q", len(text)), text, *chunks])


def load_file(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors, on the CPU, and the metadata of a file. Raises ValueError when it is damaged or no such file."""
    try:
        with open(path, "rb") as file:
            raw = bytearray(file.read())
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    try:
        size = struct.unpack("<Q", raw[:8])[0]
        header = json.loads(bytes(raw[8 : 8 + size]).decode())
        metadata = header.pop("__metadata__", {})
        body = memoryview(raw)[8 + size :]
        tensors = {name: _tensor(body, entry) for name, entry in header.items()}
        expected = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error}); it may have been cut short") from None
    if len(body) != expected:
        raise ValueError(f"{path}: holds {len(body)} bytes of numbers where its header promises {expected}")
    checksum = metadata.pop("sha256", None)
    if checksum is not None and checksum != _checksum(header, metadata, [body]):
        raise ValueError(f"{path}: the checksum does not match; the file was damaged or changed after it was written")
    return tensors, metadata


def _tensor(body: memoryview, entry: dict) -> Tensor:
    start, end = entry["data_offsets"]
    dtype, shape = DTYPES[entry["dtype"]], entry["shape"]
    if not 0 <= start <= end <= len(body):
        raise ValueError(f"numbers at {start} to {end} of {len(body)} bytes")
    if start == end:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(body[start:end], dtype=torch.uint8).clone().view(dtype).view(shape)


def _checksum(header: dict, metadata: dict, chunks) -> str:
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    digest = hashlib.sha256(json.dumps([entries, metadata], sort_keys=True).encode())
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
