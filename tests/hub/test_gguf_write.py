"""GGUF out: what the gguf package, transformers and we ourselves read of it."""

import numpy as np
import pytest
import torch
from hostile import HOSTILE

from minillm.hub import load_foreign, read_gguf, save_gguf, tokenizer_fields, tokenizer_from_gguf, write_gguf
from minillm.hub.gguf_vocabulary import byte_pair_fields
from minillm.hub.gguf_write import QUANTIZED, quantized
from minillm.models import Decoder, Encoder, ModelConfig
from minillm.text import Tokenizer

gguf = pytest.importorskip("gguf")
transformers = pytest.importorskip("transformers")

MODELS = {
    "llama": {"kv_heads": 2},
    "llama-tied": {"kv_heads": 2, "rope_theta": 5e5},
    "llama, wide": {"recipe": "llama", "hidden": 96, "norm_eps": 0.003},
    "gpt2": {"context": 1024},
    "qwen2": {"kv_heads": 2},
    "qwen3": {"kv_heads": 2},
    "olmo2": {},
    "smollm3": {"layers": 4},
}
# Of those that transformers reads; not the length of GPT-2's context, nor the size of Qwen 3's heads.
THEIRS = ("llama", "llama-tied", "llama, wide", "gpt2", "qwen2")


def model_of(name, width=64):
    size = {"vocab_size": 270, "context": 64, "layers": 2, "width": width, "heads": 4, "recipe": name}
    torch.manual_seed(0)
    model = Decoder(ModelConfig(**size | MODELS[name]))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
        parameter.data += float(parameter.dim() == 1) / 2
    return model.eval()


def ids():
    return torch.randint(0, 270, (3, 20), generator=torch.Generator().manual_seed(0))


def fields():
    """Of the smallest byte-level tokenizer, with a merge and two special tokens."""
    letters = [chr(n) for n in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
    vocab = {token: i for i, token in enumerate([*letters, "ab", "Ġab"])}
    added = [{"id": 258, "content": "<|end|>", "special": True}, {"id": 261, "content": "<tool>", "special": False}]
    description = {"model": {"vocab": vocab, "merges": ["a b", ["Ġ", "ab"]]}, "added_tokens": added}
    roles = dict.fromkeys(("bos", "eos", "pad", "unknown"), 258)
    return byte_pair_fields(description, roles, "gpt-2", template="{{ messages }}")


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_we_read_what_we_write(name, tmp_path):
    model = model_of(name)
    save_gguf(model, tmp_path / "a.gguf", kind="F32")
    again = load_foreign(tmp_path / "a.gguf")
    sizes = ("vocab_size", "context", "layers", "width", "heads", "groups", "inner", "recipe", "head_dim", "tied")
    assert [getattr(again.config, name) for name in sizes] == [getattr(model.config, name) for name in sizes]
    for name in ("norm_eps", "rope_theta"):
        assert getattr(again.config, name) == pytest.approx(getattr(model.config, name), rel=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("name", THEIRS)
@torch.no_grad()
def test_transformers_reads_what_we_write(name, tmp_path):
    model = model_of(name)
    save_gguf(model, tmp_path / "a.gguf", fields(), "F32")
    cls = transformers.AutoModelForCausalLM
    theirs = cls.from_pretrained(tmp_path, gguf_file="a.gguf", dtype=torch.float32).eval()
    torch.testing.assert_close(theirs(ids()).logits, model(ids()), atol=1e-5, rtol=1e-5)


def test_a_tokenizer_of_ours_goes_out_and_comes_back(tmp_path):
    tokenizer = Tokenizer.train([*HOSTILE, "the cat sat on the mat " * 50], 400)
    save_gguf(model_of("llama"), tmp_path / "a.gguf", tokenizer_fields(tokenizer), "F32")
    again = tokenizer_from_gguf(read_gguf(tmp_path / "a.gguf").metadata)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file="a.gguf")
    for text in HOSTILE:
        ids = tokenizer.encode(text)
        assert list(again.encode(text)) == list(ids)
        assert "<|" in text or theirs.encode(text, add_special_tokens=False) == list(ids)
    assert (again.bos_id, again.eos_id, again.begin) == (tokenizer.bos_id, tokenizer.eos_id, tokenizer.begin)
    with pytest.raises(ValueError, match="no counterpart"):
        tokenizer_fields(Tokenizer.characters("abc"))


def test_transformers_reads_the_tokenizer_and_its_template(tmp_path):
    save_gguf(model_of("llama"), tmp_path / "a.gguf", fields(), "F32")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file="a.gguf")
    found = tokenizer.encode(" ab<|end|>b", add_special_tokens=False)
    assert tokenizer.convert_ids_to_tokens(found) == ["Ġab", "<|end|>", "b"] and found[1] == 258
    assert tokenizer.chat_template == "{{ messages }}"
    metadata = read_gguf(tmp_path / "a.gguf").metadata
    assert metadata["tokenizer.ggml.tokens"][258:262] == ["<|end|>", "[PAD259]", "[PAD260]", "<tool>"]
    assert metadata["tokenizer.ggml.token_type"][257:263] == [1, 3, 5, 5, 4, 5]


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", *QUANTIZED])
@torch.no_grad()
def test_the_package_reads_the_types_that_we_write(kind, tmp_path):
    model = model_of("llama", 64)
    save_gguf(model, tmp_path / "a.gguf", fields(), kind, "a name")
    file = gguf.GGUFReader(tmp_path / "a.gguf")
    assert file.fields["general.name"].contents() == "a name"
    own = read_gguf(tmp_path / "a.gguf")
    assert own.metadata == {k: f.contents() for k, f in file.fields.items() if not k.startswith("GGUF.")}
    kinds = {tensor.tensor_type.name for tensor in file.tensors}
    assert kinds == {kind, "F32"} | ({"F16"} if kind in QUANTIZED else set())  # 170 inner channels are no whole blocks
    for tensor in file.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(own.tensors[tensor.name].numbers().numpy(), values)
    coarse = {"F32": 0, "F16": 1e-3, "BF16": 1e-2, "Q8_0": 1e-2, "Q5_0": 0.1, "Q4_0": 0.2}[kind]
    again = load_foreign(tmp_path / "a.gguf")
    for a, b in zip(again.parameters(), model.parameters()):
        assert (a - b).abs().max() <= coarse * b.abs().max()


@pytest.mark.parametrize("kind", QUANTIZED)
def test_few_bits_are_rounded_and_stored_as_the_package_does(kind):
    values = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    values[3] = 0
    expected = gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
    assert quantized(torch.from_numpy(values), kind) == expected.tobytes()


def test_fields_of_every_kind_come_back(tmp_path):
    said = {"a": 1, "b": -1, "c": 0.5, "d": True, "e": "ä", "f": ["x", ""], "g": [1, -2], "h": [0.5], "i": []}
    write_gguf(tmp_path / "a.gguf", said, {})
    assert read_gguf(tmp_path / "a.gguf").metadata == said


def test_what_has_no_architecture_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no Hugging Face counterpart"):
        save_gguf(Decoder(ModelConfig(9, 8, 1, 8, 2)), tmp_path / "a.gguf")
    with pytest.raises(ValueError, match="model of type bert cannot be written as GGUF"):
        save_gguf(Encoder(ModelConfig(9, 8, 1, 8, 2, recipe="bert")), tmp_path / "a.gguf")
    with pytest.raises(ValueError, match="not of 'Q4_K'"):
        save_gguf(model_of("llama"), tmp_path / "a.gguf", kind="Q4_K")
    assert not list(tmp_path.iterdir())
