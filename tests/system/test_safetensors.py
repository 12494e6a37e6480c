"""Our files against the safetensors library, and damage of every kind."""

import json
import struct

import pytest
import safetensors.torch
import torch

from minillm.system import load_file, save_file
from minillm.system.files import STORED_DTYPES


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
    name_of_the_checksum = range(whole.index(b"sha256"), whole.index(b"sha256") + len(b"sha256"))
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
    with pytest.raises(KeyError):
        save_file({"w": torch.ones(3, dtype=torch.complex64)}, path)
    assert load_file(path)[0]["w"].tolist() == [1, 1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
