"""GGUF files: against the gguf package and transformers, and damaged in every way."""

import os
import random
import struct
import time
import tracemalloc

import numpy as np
import pytest
import torch

from minillm.hub import load_foreign, read_gguf
from minillm.hub.gguf_blocks import TYPES
from minillm.hub.gguf_models import ARCHITECTURES, LLAMA_3, pair

gguf = pytest.importorskip("gguf")
transformers = pytest.importorskip("transformers")

SIZE = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 56}
SIZE |= {"max_position_embeddings": 64, "num_key_value_heads": 2}
SLOW = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": LLAMA_3[0], "high_freq_factor": LLAMA_3[1]}
SLOW |= {"original_max_position_embeddings": LLAMA_3[2], "rope_theta": 5e5}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
MODELS = {
    "llama": ("LlamaForCausalLM", SIZE),
    "llama, tied": ("LlamaForCausalLM", SIZE | {"tie_word_embeddings": True}),
    "llama 3": ("LlamaForCausalLM", SIZE | {"rope_parameters": SLOW}),
    "qwen2": ("Qwen2ForCausalLM", SIZE),
    "qwen3": ("Qwen3ForCausalLM", SIZE | {"head_dim": 16}),
    "smollm3": (
        "SmolLM3ForCausalLM",
        SIZE | {"num_hidden_layers": 4} | IDS,
    ),
    "olmo2": ("Olmo2ForCausalLM", SIZE | IDS),
    "gpt2": ("GPT2LMHeadModel", {"vocab_size": 40, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}),
}


def original(name):
    """A small model of transformers in which nothing is zero."""
    cls, size = MODELS[name]
    torch.manual_seed(1)
    model = getattr(transformers, cls)
    model = model(model.config_class(**size))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
        parameter.data += float(parameter.dim() == 1) / 2
    return model.eval()


def write(path, fields, tensors, architecture="llama"):
    """A file by the gguf package. tensors: name -> array, or bytes and their type."""
    writer = gguf.GGUFWriter(path, architecture)
    for name, value in fields.items():
        kind = {int: "uint32", float: "float32", str: "string", list: "array"}[type(value)]
        getattr(writer, f"add_{kind}")(name, value)
    for name, array in tensors.items():
        array, kind = array if isinstance(array, tuple) else (array, None)
        writer.add_tensor(name, array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def convert(model, name, path):
    """What llama.cpp's converter makes of a model: its names from the gguf package's table."""
    name = name.split(",")[0].split()[0]
    config, arch = model.config, {v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[name]
    places = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    tensors = {}
    for key, tensor in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if name in ("llama", "smollm3") and any(part in key for part in ("q_proj", "k_proj")):
            tensor = pair(tensor, config.num_attention_heads if "q_proj" in key else config.num_key_value_heads)
        if name == "gpt2" and ".h." in key and tensor.dim() == 2:
            tensor = tensor.T
        tensors[places.get_name(key, (".weight", ".bias"))] = tensor.contiguous().numpy()
    fields = {
        f"{name}.{key}": getattr(config, theirs)
        for key, theirs in ARCHITECTURES[name].settings.items()
        if getattr(config, theirs, None) is not None
    }
    rope = getattr(config, "rope_parameters", None) or {}
    if "rope_theta" in rope:
        fields[f"{name}.rope.freq_base"] = float(rope["rope_theta"])
    if rope.get("rope_type") == "llama3":
        plain = 1 / rope["rope_theta"] ** (torch.arange(0, 8, 2) / 8)
        tensors["rope_freqs.weight"] = (plain / model.model.rotary_emb.inv_freq).numpy()
    return write(path, fields, tensors, name)


@pytest.mark.parametrize("number", TYPES, ids=lambda number: TYPES[number].name)
def test_every_type_is_unpacked_bit_for_bit(number, tmp_path):
    kind, theirs = TYPES[number], gguf.GGMLQuantizationType(number)
    assert kind.name == theirs.name and (kind.values, kind.size) == gguf.GGML_QUANT_SIZES[theirs]
    data = np.random.default_rng(number).integers(0, 256, (7, 3 * kind.size), dtype=np.uint8)
    data = np.tile(data, (1 + (1 << 19) // data.size // max(kind.values // kind.size, 1), 1))  # more than one piece
    path = write(tmp_path / "a.gguf", {}, {"w": (data, theirs)})
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(data, theirs)
    stored = read_gguf(path).tensors["w"]
    assert stored.shape == expected.shape
    assert np.array_equal(stored.numbers().numpy().view(np.uint32), expected.view(np.uint32))
    rounded = torch.from_numpy(expected.copy()).bfloat16()
    assert torch.equal(stored.numbers(torch.bfloat16).view(torch.int16), rounded.view(torch.int16))


def example(path):
    """A small file with something of everything."""
    rng = np.random.default_rng(0)
    fields = {"llama.block_count": 2, "llama.eps": 0.5, "a.text": "häß", "a.list": ["x", "", "yz"], "a.ints": [1, 2]}
    raw = rng.integers(0, 256, (4, 36), dtype=np.uint8)
    tensors = {"a": rng.normal(size=(3, 5)).astype(np.float32), "b": (raw, gguf.GGMLQuantizationType.Q4_0)}
    return write(path, fields, tensors | {"c": rng.normal(size=7).astype(np.float16)})


def test_fields_and_tensors_are_those_that_the_package_wrote(tmp_path):
    path = example(tmp_path / "a.gguf")
    found, theirs = read_gguf(path), gguf.GGUFReader(path)
    expected = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert found.metadata == expected and found.metadata["a.list"] == ["x", "", "yz"]
    for tensor in theirs.tensors:
        own = found.tensors[tensor.name]
        assert list(own.shape) == tensor.shape.tolist()[::-1] and bytes(own.data) == tensor.data.tobytes()


def test_the_second_version_is_read_too(tmp_path):
    path = example(tmp_path / "a.gguf")
    whole = bytearray(path.read_bytes())
    whole[4] = 2
    (tmp_path / "b.gguf").write_bytes(whole)
    assert read_gguf(tmp_path / "b.gguf").metadata == read_gguf(path).metadata


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_a_model_has_the_logits_of_the_original(name, tmp_path):
    theirs = original(name)
    ours = load_foreign(convert(theirs, name, tmp_path / "a.gguf"))
    ids = torch.randint(0, 40, (3, 20), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-5, rtol=1e-5)
    assert not ours.training and all(parameter.requires_grad for parameter in ours.parameters())


def text(word):
    return struct.pack("<Q", len(word)) + word


def field(name=b"k", kind=4, value=b"\1\0\0\0"):
    return text(name) + struct.pack("<I", kind) + value


def entry(name=b"w", shape=(4,), kind=0, offset=0):
    return text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape) + struct.pack("<IQ", kind, offset)


def file_of(fields=(), tensors=(), data=b"", magic=b"GGUF", version=3, counts=None, alignment=32):
    head = magic + struct.pack("<IQQ", version, *(counts or (len(tensors), len(fields))))
    head += b"".join([*fields, *tensors])
    return head + b"\0" * (-len(head) % alignment) + data


FULL = b"\0" * 64
DAMAGED = {
    "empty": (b"", "cut short"),
    "another format": (file_of(magic=b"GGML"), "no GGUF file"),
    "version 1": (file_of(version=1), "version 1 of GGUF"),
    "big-endian": (file_of(version=3 << 24), "version 50331648 of GGUF"),
    "too many fields": (file_of(counts=(0, 2**63)), "cut short"),
    "too many tensors": (file_of(counts=(2**63, 0)), "cut short"),
    "a long text": (file_of([field(kind=8, value=struct.pack("<Q", 2**40) + b"x")]), "cut short"),
    "a long name": (file_of([struct.pack("<Q", 2**64 - 1) + b"xxxx"]), "cut short"),
    "no text": (file_of([field(kind=8, value=text(b"\xff\xfe"))]), "utf-8"),
    "a long array": (file_of([field(kind=9, value=struct.pack("<IQ", 5, 2**61))]), "cut short"),
    "a long array of texts": (file_of([field(kind=9, value=struct.pack("<IQ", 8, 2**61))]), "cut short"),
    "arrays in an array": (file_of([field(kind=9, value=struct.pack("<IQ", 9, 1) + FULL)]), "field of type 9"),
    "a field of no type": (file_of([field(kind=77)]), "field of type 77"),
    "a field twice": (file_of([field(), field()]), "'k' stands there twice"),
    "alignment 0": (file_of([field(b"general.alignment", value=struct.pack("<I", 0))]), "alignment is 0"),
    "alignment 12": (file_of([field(b"general.alignment", value=struct.pack("<I", 12))]), "alignment is 12"),
    "alignment as text": (file_of([field(b"general.alignment", 8, text(b"32"))]), "alignment is '32'"),
    "a vast alignment": (
        file_of([field(b"general.alignment", value=struct.pack("<I", 2**31))], [entry()]),
        "cut short",
    ),
    "a tensor twice": (file_of(tensors=[entry(), entry(offset=32)], data=FULL), "'w' .* stands there twice"),
    "no dimensions": (file_of(tensors=[entry(shape=())], data=FULL), "0 dimensions"),
    "many dimensions": (file_of(tensors=[entry(shape=(1,) * 5)], data=FULL), "5 dimensions"),
    "2^32 dimensions": (file_of(tensors=[text(b"w") + b"\xff" * 4], data=FULL), "4294967295 dimensions"),
    "a dimension of 0": (file_of(tensors=[entry(shape=(4, 0))], data=FULL), r"cannot have the shape \[4, 0\]"),
    "a vast shape": (file_of(tensors=[entry(shape=(2**40, 2**40))], data=FULL), "does not fit into 64 bytes"),
    "half a block": (file_of(tensors=[entry(shape=(16,), kind=2)], data=FULL), r"Q4_0 cannot have the shape \[16\]"),
    "a type that nobody has": (file_of(tensors=[entry(kind=4)], data=FULL), "type 4, which is not supported: F32, "),
    "an offset past the end": (file_of(tensors=[entry(offset=64)], data=FULL), "does not fit into 64 bytes"),
    "an offset of 2^64": (file_of(tensors=[entry(offset=2**64 - 32)], data=FULL), "does not fit into 64 bytes"),
    "an offset between": (file_of(tensors=[entry(offset=8)], data=FULL), "is not aligned"),
    "one over another": (file_of(tensors=[entry(), entry(b"v")], data=FULL), "lies over another"),
    "no data": (file_of(tensors=[entry()]), "does not fit into 0 bytes"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused_with_a_sentence(name, tmp_path):
    whole, said = DAMAGED[name]
    path = tmp_path / "a.gguf"
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=rf"a\.gguf: .*{said}"):
        read_gguf(path)


@pytest.mark.parametrize("seed", range(int(os.environ.get("ATTACKS", 0)) or 120))
def test_whatever_is_done_to_a_file_it_is_read_or_refused_by_name(seed, tmp_path_factory):
    rng = random.Random(seed)
    folder = tmp_path_factory.getbasetemp()
    if not (folder / "model.gguf").exists():
        example(folder / "some.gguf")
        convert(original("llama"), "llama", folder / "model.gguf")
    whole = bytearray((folder / rng.choice(("some.gguf", "model.gguf"))).read_bytes())
    table = min(len(whole), 1500)  # where fields and names are
    for _ in range(rng.choice((1, 1, 2, 5))):
        place, way = rng.randrange(table), rng.randrange(5)
        if way == 0 and place < len(whole):
            whole[place] ^= 1 << rng.randrange(8)
        elif way == 1:
            whole[place : place + 8] = rng.choice((b"\xff" * 8, b"\0" * 8, struct.pack("<Q", 1 << rng.randrange(64))))
        elif way == 2:
            del whole[place : place + rng.randrange(1, 40)]
        elif way == 3:
            whole[place:place] = rng.randbytes(rng.randrange(1, 40))
        else:
            del whole[rng.randrange(len(whole)) :]
            whole = whole or bytearray(b"GGUF")
    path = folder / "damaged.gguf"
    path.write_bytes(whole)
    tracemalloc.start()
    began = time.process_time()
    try:
        for stored in read_gguf(path).tensors.values():
            stored.numbers()
        load_foreign(path)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20e6 and time.process_time() - began < 5
