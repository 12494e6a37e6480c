"""Tensors in the safetensors format: eight bytes of header length, a JSON header, then the raw numbers.

Nothing is executed on reading, any reader of the format reads our files, and we read theirs; ours also carry a
checksum, so that a damaged one is noticed. A large file is mapped (`map_file`): it is read where it is touched, and no
copy is made of it whole. Left out: fp8. The format: https://huggingface.co/docs/safetensors
"""

import hashlib
import json
import math
import mmap
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from minillm.system.files import check_readable, write_atomic

# As safetensors calls them.
STORED_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
STORED_DTYPES |= {"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8}
STORED_DTYPES |= {"U8": torch.uint8, "U16": torch.uint16, "U32": torch.uint32, "BOOL": torch.bool}
STORED_NAMES = {dtype: name for name, dtype in STORED_DTYPES.items()}
CHECKSUM, SAME = "minillm.sha256", "minillm.same"  # our keys among the metadata: others have a sha256 of their own

PIECE = 1 << 24  # bytes of a mapped file that are in memory at a time


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
    """The tensors, on the CPU, and the metadata of a safetensors file; see `map_file`."""
    tensors, metadata, file = map_file(path)
    copies: dict[int, Tensor] = {}
    for tensor in tensors.values():  # two names of one tensor stay so
        if id(tensor) not in copies:
            copies[id(tensor)] = tensor.clone()
            file.release()
    return {name: copies[id(tensor)] for name, tensor in tensors.items()}, metadata


class MappedFile:
    """The bytes of a file, read from the disk where they are touched; `release` forgets those that were."""

    def __init__(self, path: str | os.PathLike):
        check_readable(path)
        try:
            with open(path, "rb") as file:
                empty = os.fstat(file.fileno()).st_size == 0
                self._map = None if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except FileNotFoundError:
            raise ValueError(f"{path}: there is no such file") from None
        except OSError as error:
            raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
        except ValueError:  # what is no file has no bytes to map
            raise ValueError(f"{path}: cannot be read") from None
        self.data = memoryview(self._map or b"")

    def release(self) -> None:
        """Give the memory of the pages back; what was written into them, and not into the file, is gone too."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def pieces(self, start: int = 0) -> Iterator[memoryview]:
        """The bytes from `start` on in order, of which few are in memory at a time."""
        for place in range(start, len(self.data), PIECE):
            yield self.data[place : place + PIECE]
            self.release()


class Mapped(NamedTuple):
    """What a safetensors file holds: views of its bytes, which are gone when the memory of the file is released."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    file: MappedFile


def map_file(path: str | os.PathLike) -> Mapped:
    """The tensors, on the CPU and in the file yet, and the metadata of a safetensors file.

    Raises: ValueError when it is damaged or missing, and for a dtype that is not among STORED_DTYPES.
    """
    file = MappedFile(path)
    try:
        header, metadata, start = _read_header(file.data)
        unknown = {name: entry["dtype"] for name, entry in header.items() if entry["dtype"] not in STORED_DTYPES}
        body = file.data[start:]
        tensors = {name: _tensor(body, name, entry) for name, entry in header.items() if name not in unknown}
        tensors |= {name: tensors[first] for name, first in json.loads(metadata.get(SAME, "{}")).items()}
    except (struct.error, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        said = str(error).split("\n")[0]
        raise ValueError(f"{path}: not a whole safetensors file ({said}); it may have been cut short") from None
    for name, dtype in unknown.items():
        raise ValueError(f"{path}: {name} is of dtype {dtype}, which is not supported: {', '.join(STORED_DTYPES)} are")
    checksum = metadata.pop(CHECKSUM, None)
    if checksum is not None and checksum != _checksum(header, metadata, file.pieces(start)):
        raise ValueError(f"{path}: the checksum does not match; the file was damaged or changed after it was written")
    metadata.pop(SAME, None)
    return Mapped(tensors, metadata, file)


def _read_header(raw: memoryview) -> tuple[dict, dict[str, str], int]:
    """The entries, the metadata and where the numbers begin, each of which belongs to one tensor; ValueError if not."""
    size = struct.unpack("<Q", raw[:8])[0]
    if size > len(raw) - 8:
        raise ValueError(f"a header of {size} bytes in a file of {len(raw)}")
    header = json.loads(bytes(raw[8 : 8 + size]).decode(), object_pairs_hook=_once)
    metadata = header.pop("__metadata__", None) or {}
    if not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("metadata that are no text")
    end = 0
    for start, stop in sorted(entry["data_offsets"] for entry in header.values()):
        if start != end or stop < start:
            raise ValueError(f"numbers from {start} to {stop} where those before end at {end}")
        end = stop
    if end != len(raw) - 8 - size:
        raise ValueError(f"{len(raw) - 8 - size} bytes of numbers where the header promises {end}")
    return header, metadata, 8 + size


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
        return torch.empty(0, dtype=dtype).view(shape)
    return torch.frombuffer(body[start:end], dtype=dtype).view(shape)


def _checksum(header: dict, metadata: dict, chunks) -> str:
    digest = hashlib.sha256(json.dumps([header, metadata], sort_keys=True).encode())
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
