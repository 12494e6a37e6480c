"""Files that are whole or absent: bytes, text, JSON, tensors.

A file is written beside its place, then renamed, so a killed process or a full disk leaves the one that was there.

Tensors are in the safetensors format: eight bytes of header length, a JSON header, then the raw numbers. Nothing is
executed on reading, any reader of the format reads our files, and we read theirs; ours also carry a checksum, so that a
damaged one is noticed. Left out: memory mapping, fp8. The format: https://huggingface.co/docs/safetensors
"""

import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

# As safetensors calls them.
STORED_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
STORED_DTYPES |= {"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8}
STORED_DTYPES |= {"U8": torch.uint8, "BOOL": torch.bool}
STORED_NAMES = {dtype: name for name, dtype in STORED_DTYPES.items()}


def check_file(path: str | os.PathLike) -> None:
    """Raise ValueError where no file can be written: for a folder, a device, a pipe, and below what is no folder."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file but a device or a pipe, which would be replaced: name a file")
    above = next((folder for folder in path.parents if os.path.lexists(folder)), None)
    if above is not None and not above.is_dir():
        raise ValueError(f"{path}: {above} is a file, and nothing can be written into it; name a folder")


def write_atomic(path: str | os.PathLike, pieces: Iterable[bytes]) -> None:
    """Write the bytes of `pieces` to `path`, all or, on a full disk or a kill, none; ValueError as `check_file`."""
    path = Path(os.path.realpath(path))  # a link stays, and what it leads to is written
    check_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8."""
    write_atomic(path, [text.encode()])


def write_json(path: str | os.PathLike, content) -> None:
    """Write `content` as indented JSON."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | os.PathLike):
    """The content of a JSON file; ValueError, naming the file, when it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{path}: there is no such file") from None
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None


def save_file(tensors: dict[str, Tensor], path: str | os.PathLike, metadata: dict[str, str] | None = None) -> None:
    """Write tensors, on any device (copied where not contiguous), and a dictionary of strings as safetensors."""
    header, chunks, end = {}, [], 0
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        chunk = tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b""
        start, end = end, end + len(chunk)
        header[name] = {"dtype": STORED_NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        chunks.append(chunk)
    header["__metadata__"] = {**(metadata or {}), "sha256": _checksum(header, metadata or {}, chunks)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    write_atomic(path, [struct.pack("<Q", len(text)), text, *chunks])


def load_file(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors, on the CPU, and the metadata of a safetensors file; ValueError when it is damaged or missing."""
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
    dtype, shape = STORED_DTYPES[entry["dtype"]], entry["shape"]
    if not 0 <= start <= end <= len(body):
        raise ValueError(f"numbers at {start} to {end} of {len(body)} bytes")
    if start == end:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(body[start:end], dtype=torch.uint8).clone().view(dtype).view(shape)


def _checksum(header: dict, metadata: dict, chunks) -> str:
    digest = hashlib.sha256(json.dumps([header, metadata], sort_keys=True).encode())
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
