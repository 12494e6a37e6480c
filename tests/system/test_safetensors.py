"""Our files against the safetensors library, and damage of every kind."""

import json
import struct

import pytest
import safetensors.torch
import torch

from minillm.system import load_file, save_file
from minillm.system.safetensors import CHECKSUM, STORED_DTYPES


def example():
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randint(0, 2, (3, 4), generator=generator).to(dtype) for name, dtype in STORED_DTYPES.items()
    }
    return tensors | {"empty": torch.zeros(0, 5), "scalar": torch.tensor(7.5), "turned": torch.arange(6.0).view(2, 3).T}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


def test_the_library_reads_what_we_write(tmp_path):
    save_file(example(), tmp_path / "a.safetensors", {"hello": "world"})
    assert same(safetensors.torch.load_file(tmp_path / "a.safetensors"), example())


def test_we_read_what_the_library_writes(tmp_path):
    tensors = {name: tensor.contiguous() for name, tensor in example().items()}
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors", {"format": "pt"})
    loaded, metadata = load_file(tmp_path / "a.safetensors")
    assert same(loaded, tensors) and metadata == {"format": "pt"}


def test_we_read_what_we_write(tmp_path):
    save_file(example(), tmp_path / "a.safetensors", {"state": "{}"})
    loaded, metadata = load_file(tmp_path / "a.safetensors")
    assert same(loaded, example()) and metadata == {"state": "{}"}


@pytest.mark.parametrize("keep", [0, 5, 8, 100, -1, -40])
def test_a_file_cut_short_is_noticed(tmp_path, keep):
    path = tmp_path / "a.safetensors"
    save_file(example(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"a\.safetensors"):
        load_file(path)


def test_a_changed_byte_is_noticed_wherever_it_is(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"w": torch.randn(20)}, path, {"state": "x"})
    whole = path.read_bytes()
    name_of_the_checksum = range(whole.index(CHECKSUM.encode()), whole.index(CHECKSUM.encode()) + len(CHECKSUM))
    for place in range(0, len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        if place not in name_of_the_checksum and whole[place : place + 1] != b" ":
            with pytest.raises(ValueError, match="safetensors"):
                load_file(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no such file"):
        load_file(tmp_path / "none.safetensors")


def test_a_header_that_points_outside_the_file_is_refused(tmp_path):
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 1 << 40]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 16)
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_file(tmp_path / "a.safetensors")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"w": torch.ones(3)}, path)
    with pytest.raises(ValueError, match=r"a\.safetensors: w is of torch.complex64, which cannot be stored"):
        save_file({"w": torch.ones(3, dtype=torch.complex64)}, path)
    assert load_file(path)[0]["w"].tolist() == [1, 1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


# Files of others


def entry(dtype, shape, start, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def verdicts(path, header, body=b"\0" * 8, size=None):
    """What the library and we read of a file: names, shapes and dtypes, or None where it is refused."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if size is None else size) + text + body)
    found = []
    for read, refusal in ((safetensors.torch.load_file, safetensors.SafetensorError), (load_file, ValueError)):
        try:
            tensors = read(path)
        except refusal:
            found.append(None)
        else:
            tensors = tensors[0] if isinstance(tensors, tuple) else tensors
            found.append({name: (tuple(t.shape), t.dtype, t.tolist()) for name, t in tensors.items()})
    return found


WHOLE = {"a": entry("F32", [2], 0, 8)}
HEADERS = [
    WHOLE,
    {"b": entry("F32", [1], 4, 8), "a": entry("F32", [1], 0, 4)},
    {"a": entry("F32", [1], 0, 4), "none": entry("F32", [0, 3], 4, 4), "b": entry("F32", [], 4, 8)},
    {"ö日本": entry("I64", [1], 0, 8), "": entry("BOOL", [0], 0, 0)},
    {"a": {**WHOLE["a"], "more": 1}},
    {**WHOLE, "__metadata__": {"sha256": "of the data set"}},
    {**WHOLE, "__metadata__": None},
    {"a": entry("F32", [2], 0, 8), "b": entry("F32", [1], 4, 8)},  # overlapping
    {"a": entry("F32", [1], 0, 4), "b": entry("F16", [1], 6, 8)},  # a gap
    {"a": entry("F32", [1], 0, 4)},  # numbers of nobody
    {"a": entry("F32", [4], 0, 16)},  # beyond the end
    {"a": entry("F32", [1], 0, 4), "none": entry("F32", [0], 12, 12), "b": entry("F32", [1], 4, 8)},
    {**WHOLE, "b": entry("F32", [3], 8, 8)},  # numbers that are not there
    *({"a": entry("F32", shape, 0, 8)} for shape in ([-1], [-1, -2], [3], [2.0], [True, 2], ["2"], [2**40, 2**40], 2)),
    *({"a": entry("F32", [2], *place)} for place in ((-8, 0), (8, 0), ("0", "8"), (0, None), (0.0, 8.0))),
    {"a": {**WHOLE["a"], "data_offsets": [0, 4, 8]}},
    {"a": entry("F99", [2], 0, 8)},
    {"a": [1, 2]},
    {"a": {"dtype": "F32"}},
    {"__metadata__": {"number": 1}, **WHOLE},
    {"__metadata__": [1], **WHOLE},
    [1, 2],
    "text",
    None,
    b"",
    b'{"a":NaN}',
    b'{"\xff":1}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("place", range(len(HEADERS)))
def test_a_foreign_header_is_read_or_refused_as_by_the_library(tmp_path, place):
    theirs, ours = verdicts(tmp_path / "a.safetensors", HEADERS[place])
    assert ours == theirs and (ours is None) == (place >= 7)


@pytest.mark.parametrize("size", [0, 1, 10**9, 2**63, 2**64 - 1])
def test_the_length_of_a_header_is_not_believed(tmp_path, size):
    assert verdicts(tmp_path / "a.safetensors", WHOLE, size=size) == [None, None]


def test_a_name_that_stands_twice_is_refused_since_one_of_the_tensors_would_be_lost(tmp_path):
    twice = b'{"a":%s,"a":%s}' % ((json.dumps(WHOLE["a"]).encode(),) * 2)
    assert verdicts(tmp_path / "a.safetensors", twice)[1] is None


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "uint64"])
def test_a_dtype_that_we_do_not_have_is_named_and_the_file_not_called_damaged(tmp_path, dtype):
    safetensors.torch.save_file({"x": torch.ones(3).to(getattr(torch, dtype))}, tmp_path / "a.safetensors")
    name = {"float8_e4m3fn": "F8_E4M3", "uint64": "U64"}[dtype]
    with pytest.raises(ValueError, match=rf"a\.safetensors: x is of dtype {name}, which is not supported") as error:
        load_file(tmp_path / "a.safetensors")
    assert "cut short" not in str(error.value)


def test_a_checksum_of_others_is_theirs(tmp_path):
    safetensors.torch.save_file({"x": torch.ones(3)}, tmp_path / "a.safetensors", {"sha256": "of the data set"})
    tensors, metadata = load_file(tmp_path / "a.safetensors")
    assert metadata == {"sha256": "of the data set"}
    save_file(tensors, tmp_path / "b.safetensors", metadata)
    assert load_file(tmp_path / "b.safetensors")[1] == metadata


def test_one_tensor_of_two_names_is_written_once_and_a_copy_or_another_view_twice(tmp_path):
    table = torch.randn(50, 4)
    tensors = {"table": table, "head": table, "copy": table.clone(), "turned": table.view(4, 50), "half": table[:25]}
    tensors |= {"none": torch.zeros(0, 4), "nothing": torch.zeros(0, 4)}
    save_file(tensors, tmp_path / "a.safetensors", {"hello": "world"})
    loaded, metadata = load_file(tmp_path / "a.safetensors")
    assert same(loaded, tensors) and metadata == {"hello": "world"}
    assert set(safetensors.torch.load_file(tmp_path / "a.safetensors")) == tensors.keys() - {"head"}


def test_a_folder_in_the_place_of_a_file_is_said_to_be_one(tmp_path):
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)"):
        load_file(tmp_path)
