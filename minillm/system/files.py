"""Files that are whole or absent: bytes, text, JSON, tensors.

A file is written beside its place, then renamed, so a killed process or a full disk leaves the one that was there.

Tensors are in the safetensors format: eight bytes of header length, a JSON header, then the raw numbers. Nothing is
executed on reading, any reader of the format reads our files, and we read theirs; ours also carry a checksum, so that a
damaged one is noticed. Left out: memory mapping, fp8. The format: https://huggingface.co/docs/safetensors
"""

import hashlib
import json
import math
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
CHECKSUM, SAME = "minillm.sha256", "minillm.same"  # our keys among the metadata: others have a sha256 of their own


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


def to_json(content, indent: int | None = None) -> str:
    """`content` as JSON, which has no NaN and no infinity: they become null."""
    return json.dumps(_finite(content), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(content):
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    return [_finite(value) for value in content] if isinstance(content, list | tuple) else content


def write_json(path: str | os.PathLike, content) -> None:
    """Write `content` as indented JSON; see `to_json`."""
    write_text(path, to_json(content, indent=2) + "\n")


def read_json(path: str | os.PathLike):
    """The content of a JSON file; ValueError, naming the file, when it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{path}: there is no such file") from None
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None


def save_file(tensors: dict[str, Tensor], path: str | os.PathLike, metadata: dict[str, str] | None = None) -> None:
    """Write tensors, on any device (copied where not contiguous), and a dictionary of strings as safetensors.

    Names of one and the same tensor, as of tied weights, are written once.
    Raises: ValueError for a tensor of a dtype that is not among STORED_DTYPES.
    """
    header, chunks, end, same, seen = {}, [], 0, {}, {}
    for name, tensor in tensors.items():
        if tensor.dtype not in STORED_NAMES:
            raise ValueError(f"{path}: {name} is of {tensor.dtype}, which cannot be stored")
        place = (tensor.device, tensor.data_ptr() or name, tensor.dtype, tensor.shape, tensor.stride())
        if seen.setdefault(place, name) != name:
            same[name] = seen[place]
            continue
        tensor = tensor.detach().cpu().contiguous()
        chunk = tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b""
        start, end = end, end + len(chunk)
        header[name] = {"dtype": STORED_NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        chunks.append(chunk)
    said = {**(metadata or {}), **({SAME: json.dumps(same)} if same else {})}
    header["__metadata__"] = {**said, CHECKSUM: _checksum(header, said, chunks)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    write_atomic(path, [struct.pack("<Q", len(text)), text, *chunks])


def load_file(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors, on the CPU, and the metadata of a safetensors file.

    Raises: ValueError when it is damaged or missing, and for a dtype that is not among STORED_DTYPES.
    """
    try:
        with open(path, "rb") as file:
            raw = bytearray(file.read())
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        header, metadata, body = _read_header(raw)
        unknown = {name: entry["dtype"] for name, entry in header.items() if entry["dtype"] not in STORED_DTYPES}
        tensors = {name: _tensor(body, name, entry) for name, entry in header.items() if name not in unknown}
        tensors |= {name: tensors[first] for name, first in json.loads(metadata.get(SAME, "{}")).items()}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error}); it may have been cut short") from None
    for name, dtype in unknown.items():
        raise ValueError(f"{path}: {name} is of dtype {dtype}, which is not supported: {', '.join(STORED_DTYPES)} are")
    checksum = metadata.pop(CHECKSUM, None)
    if checksum is not None and checksum != _checksum(header, metadata, [body]):
        raise ValueError(f"{path}: the checksum does not match; the file was damaged or changed after it was written")
    metadata.pop(SAME, None)
    return tensors, metadata


def _read_header(raw: bytearray) -> tuple[dict, dict[str, str], memoryview]:
    """The entries, the metadata and the numbers, each byte of which belongs to one tensor; ValueError for any other."""
    size = struct.unpack("<Q", raw[:8])[0]
    if size > len(raw) - 8:
        raise ValueError(f"a header of {size} bytes in a file of {len(raw)}")
    header = json.loads(bytes(raw[8 : 8 + size]).decode(), object_pairs_hook=_once)
    metadata, body = header.pop("__metadata__", None) or {}, memoryview(raw)[8 + size :]
    if not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("metadata that are no text")
    end = 0
    for start, stop in sorted(entry["data_offsets"] for entry in header.values()):
        if start != end or stop < start:
            raise ValueError(f"numbers from {start} to {stop} where those before end at {end}")
        end = stop
    if end != len(body):
        raise ValueError(f"{len(body)} bytes of numbers where the header promises {end}")
    return header, metadata, body


def _once(pairs: list[tuple]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name that stands there twice")
    return found


def _tensor(body: memoryview, name: str, entry: dict) -> Tensor:
    (start, end), dtype, shape = entry["data_offsets"], STORED_DTYPES[entry["dtype"]], entry["shape"]
    if not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape) * dtype.itemsize != end - start:
        raise ValueError(f"{name} of shape {shape} and {entry['dtype']} in {end - start} bytes")
    if start == end:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(body[start:end], dtype=torch.uint8).clone().view(dtype).view(shape)


def _checksum(header: dict, metadata: dict, chunks) -> str:
    digest = hashlib.sha256(json.dumps([header, metadata], sort_keys=True).encode())
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
