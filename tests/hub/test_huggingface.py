"""Hugging Face checkpoints: the same numbers as transformers in both directions, and folders that are not whole."""

import json
import re
import shutil

import pytest
import torch

from minillm.hub import load_model, load_pretrained, save_pretrained
from minillm.inference import generate
from minillm.models import Decoder, Encoder, ModelConfig
from minillm.system import load_file, save_file
from minillm.training import RunFolder, describe

transformers = pytest.importorskip("transformers")

GPT2 = {"vocab_size": 40, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}
SIZE = {"vocab_size": 40, "max_position_embeddings": 64, "hidden_size": 32, "num_hidden_layers": 2}
SIZE |= {"num_attention_heads": 4, "intermediate_size": 56}
SLOW = {"rope_type": "default", "rope_theta": 5e5}
ORIGINALS = {
    "gpt2": ("GPT2LMHeadModel", GPT2),
    "gpt2, wide and with a large eps": ("GPT2LMHeadModel", GPT2 | {"n_inner": 48, "layer_norm_epsilon": 0.02}),
    "bert": ("BertForMaskedLM", SIZE),
    "bert, three segments and a large eps": ("BertForMaskedLM", SIZE | {"type_vocab_size": 3, "layer_norm_eps": 0.02}),
    "bert, with next sentences": ("BertForPreTraining", SIZE),
    "llama": ("LlamaForCausalLM", SIZE),
    "llama, grouped": ("LlamaForCausalLM", SIZE | {"num_key_value_heads": 2, "rms_norm_eps": 0.02}),
    "llama, tied, one key": ("LlamaForCausalLM", SIZE | {"num_key_value_heads": 1, "tie_word_embeddings": True}),
    "llama, slow to turn": ("LlamaForCausalLM", SIZE | {"rope_parameters": SLOW}),
}
DECODERS = [name for name in ORIGINALS if not name.startswith("bert")]
BERTS = [name for name in ORIGINALS if name.startswith("bert")]
RECIPES = {"gpt2": Decoder, "bert": Encoder, "llama": Decoder, "llama-tied": Decoder}


def randomise(model):
    """Nothing is zero, and no norm's weight is one, so that nothing can hide."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
        parameter.data += float(parameter.dim() == 1) / 2
    return model.eval()


def original(name):
    """A small model of transformers."""
    cls, size = ORIGINALS[name]
    cls = getattr(transformers, cls)
    return randomise(cls(cls.config_class(**size)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """name -> a folder with that original as transformers saves it, not to be changed."""
    root = tmp_path_factory.mktemp("originals")

    def folder(name):
        if not (root / name).exists():
            original(name).save_pretrained(root / name)
        return root / name

    return folder


def logits_of(model, ids, mask=None, segment_ids=None):
    """A model of transformers, told that the first real token stands at position 0."""
    mask = torch.ones_like(ids) if mask is None else mask
    extra = {} if segment_ids is None else {"token_type_ids": segment_ids}
    out = model(ids, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0), **extra)
    return out.prediction_logits if "prediction_logits" in out else out.logits


def tokens(B=3, T=12, seed=0):
    return torch.randint(0, 40, (B, T), generator=torch.Generator().manual_seed(seed))


def ragged(side, T=12):
    """Texts of 12, 3 and 8 tokens, with junk behind or before them."""
    real = torch.arange(T) < torch.tensor([[12], [3], [8]])
    return tokens(), (real if side == "right" else real.flip(1)).long()


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ORIGINALS)
@torch.no_grad()
def test_a_loaded_model_has_the_logits_of_the_original(name, saved):
    theirs = original(name)
    ours, config = load_pretrained(saved(name))
    assert ours.config == config and not ours.training
    for T in (1, 12, 64):
        close(ours(tokens(T=T)), logits_of(theirs, tokens(T=T)))
    for side in ("left", "right"):
        ids, mask = ragged(side)
        real = mask.bool()
        close(ours(ids, mask)[real], logits_of(theirs, ids, mask)[real])
        close(ours(ids, mask, keep=real), logits_of(theirs, ids, mask)[real])


@pytest.mark.parametrize("name", BERTS)
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_pairs_are_told_apart_as_in_the_original(name, side, saved):
    theirs = original(name)
    ours, config = load_pretrained(saved(name))
    ids, mask = ragged(side)
    segment_ids = tokens(seed=4) % config.segments
    real = mask.bool()
    came = ours(ids, mask, segment_ids=segment_ids)[real]
    close(came, logits_of(theirs, ids, mask, segment_ids)[real])
    assert not torch.allclose(came, ours(ids, mask)[real])


@pytest.mark.parametrize("name", DECODERS)
def test_greedy_writing_is_that_of_transformers(name, saved):
    theirs = original(name)
    ours, _ = load_pretrained(saved(name))
    ids, mask = ragged("left")
    theirs.generation_config.eos_token_id = None
    expected = theirs.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=20, pad_token_id=0)
    came = generate(ours, ids, 20, temperature=0, attention_mask=mask)
    assert came[:, 12:].tolist() == expected[:, 12:].tolist()
    assert len(set(came[:, 12:].flatten().tolist())) > 2  # not one token over and over


def ours_of(recipe, **changes):
    """A small model of ours."""
    config = {"vocab_size": 40, "context": 32, "layers": 2, "width": 32, "heads": 4, "norm_eps": 0.003} | changes
    return randomise(RECIPES[recipe](ModelConfig(recipe=recipe, **config)))


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("gpt2", {}),
        ("gpt2", {"hidden": 50}),
        ("bert", {}),
        ("bert", {"segments": 2, "hidden": 50}),
        ("llama", {"kv_heads": 2, "rope_theta": 300.0}),
        ("llama", {"hidden": 50, "dropout": 0.1}),
        ("llama-tied", {"kv_heads": 1}),
    ],
)
@torch.no_grad()
def test_transformers_loads_what_we_save_and_so_do_we(recipe, changes, tmp_path):
    ours = ours_of(recipe, **changes)
    save_pretrained(ours, tmp_path)
    auto = transformers.AutoModelForMaskedLM if recipe == "bert" else transformers.AutoModelForCausalLM
    theirs, report = auto.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    for side in ("left", "right"):
        ids, mask = ragged(side)
        close(logits_of(theirs.eval(), ids, mask)[mask.bool()], ours(ids, mask)[mask.bool()])
    again, config = load_pretrained(tmp_path)
    assert torch.equal(again(ids, mask), ours(ids, mask))
    assert config.inner == ours.config.inner and config.dropout == ours.config.dropout


def test_a_loaded_model_is_a_model_like_any_other(tmp_path):
    original("bert").save_pretrained(tmp_path / "theirs")
    ours, config = load_pretrained(tmp_path / "theirs")
    run = RunFolder(tmp_path / "run")
    run.save_config(model=describe(ours))
    run.save_model(ours)
    again = load_model(run.path)
    assert isinstance(again, Encoder) and again.config == config and again.head.weight is again.embedding.weight
    assert torch.equal(again(tokens()), ours(tokens()))


def test_shards_are_read_like_one_file(tmp_path):
    theirs = original("llama")
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    index = tmp_path / "model.safetensors.index.json"
    assert index.exists() and not (tmp_path / "model.safetensors").exists()
    close(load_pretrained(tmp_path)[0](tokens()), logits_of(theirs, tokens()))
    sorted(tmp_path.glob("model-*.safetensors"))[1].unlink()
    with pytest.raises(ValueError, match=r"model-00002-of-\d+\.safetensors: there is no such file"):
        load_pretrained(tmp_path)
    index.write_text("[]")
    with pytest.raises(ValueError, match=r"index\.json: has no weight_map"):
        load_pretrained(tmp_path)


def test_of_each_shard_the_tensors_are_taken_that_the_index_places_there(tmp_path):
    theirs = original("llama")
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    index = tmp_path / "model.safetensors.index.json"
    first, *_, last = sorted(tmp_path.glob("model-*.safetensors"))
    old = {name: torch.zeros_like(tensor) for name, tensor in load_file(first)[0].items()}
    save_file(load_file(last)[0] | old | {"left.over": torch.zeros(2)}, last)  # of an older save
    close(load_pretrained(tmp_path)[0](tokens()), logits_of(theirs, tokens()))
    content = json.loads(index.read_text())
    name = next(name for name, file in content["weight_map"].items() if file == first.name)
    content["weight_map"][name] = sorted(tmp_path.glob("model-*.safetensors"))[1].name
    index.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"index\.json: lacks the tensor {re.escape(name)}"):
        load_pretrained(tmp_path)


def rewrite(folder, change):
    """Change the tensors of a folder: names and tensors -> names and tensors."""
    tensors, _ = load_file(folder / "model.safetensors")
    save_file(change(tensors), folder / "model.safetensors")


@pytest.mark.parametrize("name", ["gpt2", "bert", "llama, tied, one key"])
@torch.no_grad()
def test_older_names_are_known(name, saved, tmp_path):
    shutil.copytree(saved(name), tmp_path, dirs_exist_ok=True)
    rotary = "model.layers.0.self_attn.rotary_emb.inv_freq"

    def older(tensors):
        if name == "gpt2":  # names without the prefix, and buffers among the weights
            tensors = {key.removeprefix("transformer."): t for key, t in tensors.items()}
            return tensors | {"h.0.attn.bias": torch.ones(1, 1, 64, 64), "h.1.attn.masked_bias": torch.tensor(-1e4)}
        if name == "bert":
            new = {key.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): key for key in tensors}
            return {key: tensors[name] for key, name in new.items()} | {
                "bert.embeddings.position_ids": torch.arange(64)[None],
                "cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"],
                "cls.predictions.decoder.bias": tensors["cls.predictions.bias"],
            }
        return tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"], rotary: torch.ones(4)}

    rewrite(tmp_path, older)
    close(load_pretrained(tmp_path)[0](tokens()), logits_of(original(name), tokens()))


@pytest.mark.parametrize("cls", ["BertModel", "GPT2Model"])
@torch.no_grad()
def test_the_trunk_alone_gives_the_hidden_vectors(cls, tmp_path, recwarn):
    cls = getattr(transformers, cls)
    theirs = randomise(cls(cls.config_class(**(SIZE if cls.__name__ == "BertModel" else GPT2))))
    theirs.save_pretrained(tmp_path)
    ours, _ = load_pretrained(tmp_path)
    close(ours.hidden(tokens()), theirs(tokens()).last_hidden_state)
    said = [str(w.message) for w in recwarn if "no output layer" in str(w.message)]
    assert len(said) == (cls.__name__ == "BertModel")  # GPT-2's output layer is its table


def test_half_precision_is_read_as_fp32(tmp_path):
    original("llama").to(torch.bfloat16).save_pretrained(tmp_path)
    ours, _ = load_pretrained(tmp_path)
    assert {p.dtype for p in ours.parameters()} == {torch.float32}
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    close(ours(tokens()), logits_of(theirs, tokens()))


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("gpt2", {"model_type": "mamba"}, "model_type is 'mamba', and only gpt2, bert, llama, .* are known"),
        ("gpt2", {"model_type": "mistral"}, "max_position_embeddings is missing"),
        ("gpt2", {"model_type": None}, "model_type is None"),
        ("gpt2", {"model_type": ["gpt2"]}, "model_type is"),
        ("gpt2", {"activation_function": "relu"}, "activation_function is 'relu', and only 'gelu_new'"),
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights is False"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        ("gpt2", {"tie_word_embeddings": False}, "tie_word_embeddings is False"),
        ("gpt2", {"n_embd": "wide"}, "n_embd is 'wide' where a number was expected"),
        ("gpt2", {"n_embd": 10**30}, "does not fit the weights"),
        ("gpt2", {"n_layer": None}, "n_layer is missing"),
        ("gpt2", {"n_layer": 2.5}, "n_layer is 2.5"),
        ("gpt2", {"n_head": 5}, "width 32 must be an even multiple of heads 5"),
        ("bert", {"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new'"),
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ("bert", {"is_decoder": True}, "is_decoder is True"),
        ("llama", {"rope_parameters": LLAMA3 | {"rope_type": "yarn"}}, "rope_type is 'yarn'"),
        ("llama", {"rope_parameters": None, "rope_scaling": {"type": "linear"}}, "factor is missing"),
        ("llama", {"rope_parameters": [2]}, "config.json"),
        ("llama", {"head_dim": -8}, "head_dim is -8"),
        ("llama", {"attention_bias": True}, "attention_bias is True"),
        ("llama", {"mlp_bias": True}, "mlp_bias is True"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ("llama", {"num_key_value_heads": 3}, "heads 4 must divide by kv_heads 3"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantised"),
    ],
)
def test_a_setting_that_we_cannot_say_is_refused(name, changes, words, saved, tmp_path):
    shutil.copytree(saved(name), tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(ValueError, match=rf"config\.json: .*{words}" if words != "config.json" else r"config\.json: "):
        load_pretrained(tmp_path)


def test_an_older_file_says_its_rotary_base_beside_the_rest(tmp_path):
    theirs = original("llama, slow to turn")
    theirs.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["rope_parameters"], config["num_key_value_heads"], config["head_dim"], config["tie_word_embeddings"]
    (tmp_path / "config.json").write_text(json.dumps(config | {"rope_theta": 500000, "rope_scaling": None}))
    close(load_pretrained(tmp_path)[0](tokens()), logits_of(theirs, tokens()))


def without(name):
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


def replaced(name, tensor):
    return lambda tensors: tensors | {name: tensor}


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (
            "gpt2",
            without("transformer.h.1.ln_1.bias"),
            r"lacks the tensor transformer\.h\.1\.ln_1\.bias",
        ),
        ("gpt2", without("transformer.wte.weight"), r"lacks the tensor transformer\.wte\.weight"),
        ("bert", without("cls.predictions.bias"), r"lacks the tensor cls\.predictions\.bias"),
        ("llama", without("lm_head.weight"), r"lacks the tensor lm_head\.weight"),
        ("bert", replaced("classifier.weight", torch.ones(2, 32)), r"holds the tensor classifier\.weight"),
        (
            "llama",
            replaced("model.layers.2.mlp.up_proj.weight", torch.ones(56, 32)),
            r"holds the tensor model",
        ),
        (
            "gpt2",
            replaced("transformer.h.0.attn.c_attn.weight", torch.ones(32, 95)),
            r"transformer\.h\.0\.attn\.c_attn\.weight is \[32, 95\] .* asks for \[32, 96\]",
        ),
        ("gpt2", replaced("transformer.wte.weight", torch.ones(41, 32)), r"wte\.weight is \[41, 32\]"),
        ("llama", replaced("lm_head.weight", torch.ones(40, 32, dtype=torch.int8)), r"lm_head\.weight is .*int8"),
        ("gpt2", replaced("lm_head.weight", torch.ones(40, 32)), r"lm_head\.weight is not transformer\.wte\.weight"),
    ],
)
def test_a_folder_that_is_not_wholly_a_model_is_refused_with_file_and_tensor(name, change, words, saved, tmp_path):
    shutil.copytree(saved(name), tmp_path, dirs_exist_ok=True)
    rewrite(tmp_path, change)
    with pytest.raises(ValueError, match=rf"model\.safetensors: .*{words}"):
        load_pretrained(tmp_path)


def test_nothing_is_unpickled_and_an_empty_folder_is_no_model(tmp_path):
    with pytest.raises(ValueError, match=r"config\.json: there is no such file"):
        load_pretrained(tmp_path)
    original("bert").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin: is pickled.*AutoModelForMaskedLM\.from_pretrained"):
        load_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match=r"holds neither model\.safetensors nor model\.safetensors\.index\.json"):
        load_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"config\.json: "):
        load_pretrained(tmp_path)


def test_what_has_no_counterpart_is_not_saved(tmp_path):
    size = {"vocab_size": 40, "layers": 1, "width": 32, "heads": 4}
    for model in (
        Decoder(ModelConfig(**size)),
        Encoder(ModelConfig(**size, recipe="gpt2")),
        Decoder(ModelConfig(**size, recipe="bert")),
        torch.nn.Linear(2, 2),
    ):
        with pytest.raises(ValueError, match="has no Hugging Face counterpart: a Decoder of recipe gpt2"):
            save_pretrained(model, tmp_path)
    with pytest.raises(ValueError, match="kv_heads is 2, which a GPT2LMHeadModel cannot have"):
        save_pretrained(Decoder(ModelConfig(**size, recipe="gpt2", kv_heads=2)), tmp_path)
    with pytest.raises(ValueError, match="segments is 2, which a LlamaForCausalLM cannot have"):
        save_pretrained(Decoder(ModelConfig(**size, recipe="llama", segments=2)), tmp_path)
    adapted = Decoder(ModelConfig(**size, recipe="llama"))
    adapted.blocks[0].attention.query = torch.nn.Sequential(adapted.blocks[0].attention.query)
    with pytest.raises(ValueError, match=r"blocks\.0\.attention\.query\.0\.weight has no place .* merge adapters"):
        save_pretrained(adapted, tmp_path)
    assert not list(tmp_path.iterdir())
