"""Models that others trained, with their heads: transformers' numbers, both ways; adapters on them; little memory."""

import json
import subprocess
import sys

import pytest
import torch

from minillm.hub import base_of, is_foreign, load_foreign, load_labels, load_model, rebuild, save_foreign
from minillm.models import (
    Encoder,
    ModelConfig,
    PooledClassifier,
    RewardModel,
    SequenceClassifier,
    TextEncoder,
    TokenClassifier,
)
from minillm.peft import LoRA, adapter_names, inject, save_adapter
from minillm.system import read_json, save_file, write_json
from minillm.training import RunFolder, describe

transformers = pytest.importorskip("transformers")

SIZE = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 56}
SIZE |= {"max_position_embeddings": 64}
LABELS = {"id2label": {0: "bad", 1: "so so", 2: "good"}, "label2id": {"bad": 0, "so so": 1, "good": 2}}
HEADS = {
    "bert, sequences": ("BertForSequenceClassification", SIZE | LABELS, PooledClassifier),
    "bert, tokens": ("BertForTokenClassification", SIZE | LABELS, TokenClassifier),
    "llama, sequences": ("LlamaForSequenceClassification", SIZE | LABELS | {"pad_token_id": 0}, SequenceClassifier),
    "llama, tokens": ("LlamaForTokenClassification", SIZE | LABELS, TokenClassifier),
    "llama, reward": ("LlamaForSequenceClassification", SIZE | {"num_labels": 1, "pad_token_id": 0}, RewardModel),
    "gpt2, sequences": (
        "GPT2ForSequenceClassification",
        {"vocab_size": 40, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "pad_token_id": 0} | LABELS,
        SequenceClassifier,
    ),
}


def original(name, size=None):
    """A small model of transformers in which nothing is zero."""
    cls, own = (HEADS[name] if name in HEADS else (name, size))[:2]
    torch.manual_seed(1)
    cls = getattr(transformers, cls)
    model = cls(cls.config_class(**own))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
        parameter.data += float(parameter.dim() == 1) / 2
    return model.eval()


def texts():
    """Texts of 12, 3 and 8 tokens, padded behind."""
    ids = torch.randint(1, 40, (3, 12), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(12) < torch.tensor([[12], [3], [8]])).long()
    return ids * mask, mask


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", HEADS)
@torch.no_grad()
def test_a_head_has_the_logits_of_the_original_both_ways(name, tmp_path):
    theirs, (ids, mask) = original(name), texts()
    theirs.save_pretrained(tmp_path / "a")
    ours, real = load_model(tmp_path / "a"), mask.bool()
    assert type(ours) is HEADS[name][2] and not ours.training
    expected = theirs(ids, attention_mask=mask).logits
    expected = expected[:, 0] if isinstance(ours, RewardModel) else expected
    tokens = isinstance(ours, TokenClassifier)
    close(ours(ids, mask)[real] if tokens else ours(ids, mask), expected[real] if tokens else expected)
    labels = load_labels(tmp_path / "a")
    assert labels == (["LABEL_0"] if isinstance(ours, RewardModel) else ["bad", "so so", "good"])
    save_foreign(ours, tmp_path / "b", labels)
    again = type(theirs).from_pretrained(tmp_path / "b").eval()
    again.config.pad_token_id = 0
    close(again(ids, attention_mask=mask).logits, theirs(ids, attention_mask=mask).logits)
    assert again.config.id2label == dict(enumerate(labels))
    rebuilt = rebuild(describe(ours))
    rebuilt.load_state_dict(ours.state_dict())
    assert torch.equal(rebuilt.eval()(ids, mask), ours(ids, mask))


def encoder_folder(folder, kind="mean_tokens", steps=("Transformer", "Pooling", "Normalize")):
    theirs = original("BertModel", SIZE)
    theirs.save_pretrained(folder)
    flags = {f"pooling_mode_{name}": name == kind for name in ("cls_token", "mean_tokens", "max_tokens")}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, **flags})
    paths = ("", "1_Pooling", "2_Normalize")
    rows = [{"path": path, "type": f"sentence_transformers.models.{step}"} for path, step in zip(paths, steps)]
    write_json(folder / "modules.json", rows)
    return theirs


@pytest.mark.parametrize("kind", ["mean_tokens", "cls_token"])
@torch.no_grad()
def test_vectors_of_texts_are_pooled_as_the_folder_says(kind, tmp_path):
    theirs, (ids, mask) = encoder_folder(tmp_path, kind), texts()
    ours = load_model(tmp_path)
    x = theirs(ids, attention_mask=mask).last_hidden_state
    pooled = x[:, 0] if kind == "cls_token" else (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    expected = torch.nn.functional.normalize(pooled, dim=-1)
    assert isinstance(ours, TextEncoder)
    torch.testing.assert_close(ours(ids, mask), expected, atol=1e-6, rtol=0)
    save_foreign(ours, tmp_path / "b")
    assert torch.equal(load_model(tmp_path / "b")(ids, mask), ours(ids, mask))
    again = transformers.AutoModel.from_pretrained(tmp_path / "b").eval()
    close(again(ids, attention_mask=mask).last_hidden_state[mask.bool()], x[mask.bool()])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda folder: encoder_folder(folder, "max_tokens"),
            r"1_Pooling/config\.json: \[.*max_tokens.*\] of width 32",
        ),
        (lambda folder: encoder_folder(folder, steps=("Transformer", "Pooling", "Dense")), "the steps are .*Dense"),
        (lambda folder: (encoder_folder(folder), write_json(folder / "modules.json", 3)), r"modules\.json"),
    ],
)
def test_what_makes_vectors_in_another_way_is_refused(change, said, tmp_path):
    change(tmp_path)
    with pytest.raises(ValueError, match=said):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"id2label": {"0": "a", "2": "b"}}, "does not name the classes"),
        ({"id2label": {"0": "a", "1": "b"}}, r"classifier\.weight is \[3, 32\], where config\.json asks for \[2, 32\]"),
        ({"problem_type": "regression"}, "problem_type is .*not supported"),
        ({"classifier_dropout": "x"}, "classifier_dropout is 'x'"),
    ],
)
def test_a_head_that_is_not_whole_is_refused(settings, said, tmp_path):
    original("bert, sequences").save_pretrained(tmp_path)
    write_json(tmp_path / "config.json", read_json(tmp_path / "config.json") | settings)
    with pytest.raises(ValueError, match=said):
        load_model(tmp_path)


def test_a_head_that_they_cannot_have_is_not_written(tmp_path):
    trunk = Encoder(ModelConfig(40, 32, 1, 16, 2, recipe="bert", segments=2))
    with pytest.raises(ValueError, match="no Hugging Face counterpart"):
        save_foreign(SequenceClassifier(trunk, 2, "mean"), tmp_path)
    with pytest.raises(ValueError, match="reads the vector 'mean'"):
        save_foreign(PooledClassifier(trunk, 2, "mean"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_run_and_what_others_made_are_told_apart(tmp_path):
    original("LlamaForCausalLM", SIZE).save_pretrained(tmp_path / "theirs")
    run = RunFolder(tmp_path / "ours")
    run.save_config(model={"kind": "Decoder"}, stage="pretrain")
    assert is_foreign(tmp_path / "theirs") and not is_foreign(run.path) and not is_foreign(tmp_path)
    settings = read_json(tmp_path / "theirs" / "config.json")
    for word in ("model", "stage"):  # which are words of ours, and of others
        write_json(tmp_path / "theirs" / "config.json", settings | {word: "mine"})
        assert is_foreign(tmp_path / "theirs")
    (tmp_path / "x.gguf").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"x\.gguf: no GGUF file"):
        load_model(tmp_path / "x.gguf")


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16", torch.bfloat16])
def test_weights_come_in_the_dtype_that_is_asked_for(dtype, tmp_path):
    theirs = original("LlamaForCausalLM", SIZE | {"tie_word_embeddings": True}).bfloat16()
    theirs.save_pretrained(tmp_path)
    ours = load_foreign(tmp_path, dtype)
    wanted = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}.get(dtype, dtype)
    assert {parameter.dtype for parameter in ours.parameters()} == {wanted}
    assert ours.head.weight is ours.embedding.weight and ours.cos.dtype == torch.float32
    assert torch.equal(ours.embedding.weight, theirs.model.embed_tokens.weight.to(wanted))
    with pytest.raises(ValueError, match="'int3' cannot be had"):
        load_foreign(tmp_path, "int3")


@torch.no_grad()
def test_bf16_weights_give_the_logits_of_transformers_in_bf16(tmp_path):
    theirs, (ids, _) = original("LlamaForCausalLM", SIZE).bfloat16(), texts()
    theirs.save_pretrained(tmp_path)
    came, expected = load_foreign(tmp_path, "bf16")(ids).float(), theirs(ids).logits.float()
    exact = load_foreign(tmp_path, "fp32")(ids)
    assert (came - exact).norm() <= 1.5 * (expected - exact).norm()


@pytest.mark.parametrize("dtype", [None, "bf16"])
@torch.no_grad()
def test_an_adapter_stands_on_what_others_made_and_notices_a_change(dtype, tmp_path):
    theirs, (ids, mask) = original("LlamaForCausalLM", SIZE), texts()
    theirs.save_pretrained(tmp_path / "base")
    model = inject(load_model(tmp_path / "base"), LoRA(rank=2), "mine", torch.Generator().manual_seed(0))
    for name, parameter in model.named_parameters():
        if name.endswith(".B"):
            torch.nn.init.normal_(parameter)
    run = RunFolder(tmp_path / "run")
    base = base_of(RunFolder(tmp_path / "base"), run, "mine")
    run.save_config(model=describe(model), stage="sft", base=base)
    save_adapter(model, run.path, "mine")
    again = load_model(run.path, dtype=dtype)
    assert adapter_names(again) == ["mine"]
    if dtype is None:
        assert torch.equal(again(ids, mask), model(ids, mask))
    theirs.model.norm.weight.data += 1
    theirs.save_pretrained(tmp_path / "base")
    with pytest.raises(ValueError, match="has been trained anew since"):
        load_model(run.path)
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is gone: bring it back"):
        load_model(run.path)


PEAK = """
import sys
from minillm.hub import load_foreign
def rss(): return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])  # kB at most so far
load_foreign(sys.argv[2])  # what torch loads at first use
before = rss()
model = load_foreign(sys.argv[1], sys.argv[3])
print((rss() - before) * 1024 / sum(p.numel() * p.element_size() for p in model.parameters()))
"""


@pytest.mark.parametrize(("stored", "dtype"), [("F32", "fp32"), ("BF16", "fp32"), ("F32", "bf16")])
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux how much memory was taken")
def test_a_model_takes_hardly_more_memory_than_its_weights(stored, dtype, tmp_path):
    size = SIZE | {"vocab_size": 8000, "hidden_size": 512, "num_hidden_layers": 8, "intermediate_size": 1536}
    config = transformers.LlamaConfig(**size | {"tie_word_embeddings": True})
    file_dtype = {"F32": torch.float32, "BF16": torch.bfloat16}[stored]
    for folder, own in ((tmp_path / "large", config), (tmp_path / "small", transformers.LlamaConfig(**SIZE))):
        with torch.device("meta"):
            state = transformers.LlamaForCausalLM(own).state_dict()
        if own.tie_word_embeddings:
            del state["lm_head.weight"]
        tensors = {name: torch.zeros(tensor.shape, dtype=file_dtype) for name, tensor in state.items()}
        save_file(tensors, folder / "model.safetensors")
        write_json(folder / "config.json", json.loads(own.to_json_string()))
    command = [sys.executable, "-c", PEAK, tmp_path / "large", tmp_path / "small", dtype]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    assert 0.9 < float(said.stdout) < 1.25  # and so are 1.1, of a larger model
