"""Families in Hugging Face's format: the numbers of transformers, both ways, with tiny random models."""

import json

import pytest
import torch

from minillm.hub import load_model, load_pretrained, save_pretrained
from minillm.inference import generate
from minillm.models import Decoder, Details, ModelConfig
from minillm.system import load_file
from minillm.training import RunFolder, describe

transformers = pytest.importorskip("transformers")

V, CONTEXT = 40, 64
SIZE = {"vocab_size": V, "max_position_embeddings": CONTEXT, "hidden_size": 32, "num_hidden_layers": 4}
SIZE |= {"num_attention_heads": 4, "intermediate_size": 56, "eos_token_id": None, "pad_token_id": None}
GROUPED = SIZE | {"num_key_value_heads": 2}
WIDE = GROUPED | {"head_dim": 12}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 16}
LOCAL, FULL = "sliding_attention", "full_attention"
TWO = {LOCAL: {"rope_type": "default", "rope_theta": 50.0}}
CAPS = {"attn_logit_softcapping": 4.0, "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 9}
FAMILIES = {  # name: class, config
    "llama 3": ("LlamaForCausalLM", GROUPED | {"rope_parameters": LLAMA3}),
    "llama, linear, wide heads": (
        "LlamaForCausalLM",
        WIDE | {"rope_parameters": {"rope_type": "linear", "rope_theta": 100.0, "factor": 2.5}},
    ),
    "mistral": ("MistralForCausalLM", WIDE | {"sliding_window": 5}),
    "mistral, no window": ("MistralForCausalLM", GROUPED | {"sliding_window": None}),
    "qwen2": ("Qwen2ForCausalLM", GROUPED),
    "qwen2, tied, windows": (
        "Qwen2ForCausalLM",
        GROUPED
        | {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2, "tie_word_embeddings": True},
    ),
    "qwen3": ("Qwen3ForCausalLM", WIDE | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen3, tied": ("Qwen3ForCausalLM", GROUPED | {"head_dim": 8, "tie_word_embeddings": True, "rms_norm_eps": 0.02}),
    "smollm3": ("SmolLM3ForCausalLM", GROUPED),
    "smollm3, untied": ("SmolLM3ForCausalLM", GROUPED | {"no_rope_layers": [0, 1, 1, 0], "tie_word_embeddings": False}),
    "olmo2": ("Olmo2ForCausalLM", GROUPED),
    "gpt_neox": ("GPTNeoXForCausalLM", SIZE),
    "gpt_neox, half": (
        "GPTNeoXForCausalLM",
        SIZE | {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.5}},
    ),
    "gemma": ("GemmaForCausalLM", WIDE),
    "gemma2": ("Gemma2ForCausalLM", WIDE | CAPS | {"sliding_window": 5}),
    "gemma2, no caps": (
        "Gemma2ForCausalLM",
        WIDE | CAPS | {"sliding_window": 5, "attn_logit_softcapping": None, "final_logit_softcapping": None},
    ),
    "gemma3": (
        "Gemma3ForCausalLM",
        WIDE
        | {"sliding_window": 5, "query_pre_attn_scalar": 9, "layer_types": [LOCAL, LOCAL, FULL, LOCAL]}
        | {"rope_parameters": TWO | {FULL: {"rope_type": "linear", "rope_theta": 1e4, "factor": 8.0}}},
    ),
}


def randomise(model, seed=1):
    """Nothing is zero, and no norm's weight is one or zero, so that nothing can hide."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
        parameter.data += float(parameter.dim() == 1) / 2
    return model.eval()


def original(name):
    """A small model of transformers, with its own plain attention."""
    cls, size = FAMILIES[name]
    cls = getattr(transformers, cls)
    kind = cls.config_class if name != "gemma3" else transformers.Gemma3TextConfig
    model = cls(kind(**size))
    model.set_attn_implementation("eager")
    return randomise(model)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """name -> a folder with that original as transformers saves it, not to be changed."""
    root = tmp_path_factory.mktemp("families")

    def folder(name):
        if not (root / name).exists():
            original(name).save_pretrained(root / name)
        return root / name

    return folder


def tokens(B=3, T=12, seed=0):
    return torch.randint(V, (B, T), generator=torch.Generator().manual_seed(seed))


def padded():
    """Ids and a mask with padding on the left."""
    return tokens(), (torch.arange(12) >= 12 - torch.tensor([[12], [3], [8]])).long()


def logits_of(model, ids, mask=None):
    """A model of transformers, told that the first real token stands at position 0."""
    mask = torch.ones_like(ids) if mask is None else mask
    return model(ids, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0)).logits


def close(came, expected, tolerance=1e-5):
    """Within a hundred-thousandth of the largest number."""
    assert came.shape == expected.shape
    assert (came - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_a_loaded_model_has_the_logits_of_the_original(name, saved):
    theirs = original(name)
    ours, config = load_pretrained(saved(name))
    assert ours.config == config
    for T in (1, 4, 12, CONTEXT):
        close(ours(tokens(T=T)), logits_of(theirs, tokens(T=T)))
    ids, mask = padded()
    close(ours(ids, mask)[mask.bool()], logits_of(theirs, ids, mask)[mask.bool()])


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_the_cache_gives_the_same_logits_step_by_step(name, saved):
    theirs = original(name)
    ours, _ = load_pretrained(saved(name))
    ids, mask = padded()
    expected = logits_of(theirs, ids, mask)
    cache = ours.new_cache(3, 12)
    steps = [ours(ids[:, :4], mask[:, :4], cache=cache), ours(ids[:, 4:7], mask[:, :7], cache=cache)]
    steps += [ours(ids[:, t : t + 1], mask[:, : t + 1], cache=cache) for t in range(7, 12)]
    close(torch.cat(steps, 1)[mask.bool()], expected[mask.bool()])
    cache, whole = ours.new_cache(3, 12), logits_of(theirs, ids)
    steps = [ours(ids[:, :7], cache=cache)] + [ours(ids[:, t : t + 1], cache=cache) for t in range(7, 12)]
    close(torch.cat(steps, 1), whole)


@pytest.mark.parametrize("name", FAMILIES)
def test_greedy_writing_is_that_of_transformers(name, saved):
    theirs = original(name)
    ours, _ = load_pretrained(saved(name))
    ids, mask = padded()
    theirs.generation_config.eos_token_id = None
    expected = theirs.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=20, pad_token_id=0)
    assert generate(ours, ids, 20, temperature=0, attention_mask=mask)[:, 12:].tolist() == expected[:, 12:].tolist()


def loss_of(logits, ids, mask):
    real = (mask[:, 1:] & mask[:, :-1]).bool()
    return torch.nn.functional.cross_entropy(logits[:, :-1][real], ids[:, 1:][real])


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_are_those_of_transformers(name, saved, tmp_path):
    theirs = original(name)
    ours, _ = load_pretrained(saved(name))
    ids, mask = padded()
    loss_of(logits_of(theirs, ids, mask), ids, mask).backward()
    loss_of(ours(ids, mask), ids, mask).backward()
    for parameter in ours.parameters():  # written as if they were weights, they have their names
        parameter.data = parameter.grad
    save_pretrained(ours, tmp_path)
    gradients, _ = load_file(tmp_path / "model.safetensors")
    head = "embed_out" if name.startswith("gpt_neox") else "lm_head"  # as it is called in files
    wanted = {key.replace("lm_head", head): parameter for key, parameter in theirs.named_parameters()}
    assert gradients.keys() == wanted.keys()
    for key, parameter in wanted.items():
        close(gradients[key], parameter.grad, 1e-4)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_transformers_loads_what_we_save_and_so_do_we(name, saved, tmp_path):
    ours, config = load_pretrained(saved(name))
    randomise(ours, seed=2)
    save_pretrained(ours, tmp_path)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values()), report
    assert type(theirs) is type(original(name))
    ids, mask = padded()
    close(ours(ids, mask)[mask.bool()], logits_of(theirs.eval(), ids, mask)[mask.bool()])
    close(ours(tokens(T=CONTEXT)), logits_of(theirs, tokens(T=CONTEXT)))
    again, read = load_pretrained(tmp_path)
    assert read == config and torch.equal(again(ids, mask), ours(ids, mask))


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_a_run_folder_holds_such_a_model(name, saved, tmp_path):
    ours, config = load_pretrained(saved(name))
    run = RunFolder(tmp_path)
    run.save_config(model=describe(ours))
    run.save_model(ours)
    again = load_model(tmp_path)
    assert again.config == config and torch.equal(again(tokens()), ours(tokens()))


FOREIGN = ["mistral", "qwen2", "qwen3", "smollm3", "olmo2", "gpt_neox", "gemma", "gemma2", "gemma3"]


@pytest.mark.parametrize("recipe", FOREIGN)
@torch.no_grad()
def test_a_model_that_began_here_can_be_opened_by_transformers(recipe, tmp_path):
    ours = randomise(Decoder(ModelConfig(V, CONTEXT, layers=2, width=32, heads=4, recipe=recipe, rope_theta=300.0)))
    save_pretrained(ours, tmp_path)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    ids, mask = padded()
    close(ours(ids, mask)[mask.bool()], logits_of(theirs.eval(), ids, mask)[mask.bool()])


def older(folder, **changes):
    """The folder's config.json with these settings; None takes one away."""
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


OLDER = {
    "llama 3": {"rope_parameters": None, "rope_theta": 500, "rope_scaling": dict(LLAMA3, rope_theta=500.0)},
    "llama, linear, wide heads": {
        "rope_parameters": None,
        "rope_theta": 100,
        "rope_scaling": {"type": "linear", "factor": 2.5},
    },
    "qwen2, tied, windows": {"layer_types": None},
    "smollm3": {"no_rope_layers": None, "layer_types": None},
    "gpt_neox, half": {"rope_parameters": None, "rotary_pct": 0.5, "rotary_emb_base": 50},
    "gemma": {"hidden_act": "gelu", "rope_parameters": None, "tie_word_embeddings": None},
    "gemma2": {"layer_types": None},
}


@pytest.mark.parametrize("name", OLDER)
@torch.no_grad()
def test_older_files_are_read(name, tmp_path):
    theirs = original(name)
    theirs.save_pretrained(tmp_path)
    older(tmp_path, **OLDER[name])
    close(load_pretrained(tmp_path)[0](tokens(T=CONTEXT)), logits_of(theirs, tokens(T=CONTEXT)))


@torch.no_grad()
def test_an_older_gemma_3_says_every_how_many_layers_one_sees_all(tmp_path):
    theirs = original("gemma3")
    theirs.config.layer_types = [LOCAL, LOCAL, FULL, LOCAL]
    theirs.save_pretrained(tmp_path)
    older(
        tmp_path,
        **{"layer_types": None, "sliding_window_pattern": 3, "rope_parameters": None, "rope_theta": 1e4},
        **{"rope_local_base_freq": 50.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    )
    close(load_pretrained(tmp_path)[0](tokens(T=CONTEXT)), logits_of(theirs, tokens(T=CONTEXT)))


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("llama 3", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "rope_type is 'yarn', and only default"),
        ("llama 3", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type is 'dynamic'"),
        ("llama 3", {"rope_parameters": LLAMA3 | {"factor": "8"}}, "factor is '8' where a number was expected"),
        ("llama 3", {"rope_parameters": LLAMA3 | {"low_freq_factor": 4.0}}, "rope_low 4.0 must lie below rope_high"),
        ("llama 3", {"rope_parameters": {"rope_type": "llama3", "factor": 2.0}}, "low_freq_factor is missing"),
        ("llama 3", {"rope_parameters": LLAMA3 | {"factor": 0}}, "rope_factor above 0"),
        ("llama 3", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ("mistral", {"sliding_window": -5}, "window is -5"),
        ("mistral", {"head_dim": 11}, "width 32 must be an even multiple"),
        ("qwen2", {"layer_types": [FULL] * 3}, "layer_types is .* expected for 4 layers"),
        ("qwen2", {"layer_types": ["chunked_attention"] * 4}, "layer_types is"),
        ("qwen3", {"attention_bias": True}, "attention_bias is True"),
        ("smollm3", {"use_sliding_window": True}, "use_sliding_window is True"),
        ("smollm3", {"no_rope_layers": [1, 2, 1, 1]}, "no_rope_layers is"),
        ("smollm3", {"layer_types": [LOCAL] * 4}, "layer_types is not full_attention everywhere"),
        ("olmo2", {"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ("gpt_neox", {"use_parallel_residual": False}, "use_parallel_residual is False"),
        ("gpt_neox", {"hidden_act": "gelu_fast"}, "hidden_act is 'gelu_fast'"),
        ("gemma2", {"hidden_activation": "gelu"}, "hidden_activation is 'gelu'"),
        ("gemma2", {"attn_logit_softcapping": "50"}, "attn_logit_softcapping is '50'"),
        ("gemma2", {"tie_word_embeddings": False}, "tie_word_embeddings is False"),
        ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
        ("gemma3", {"model_type": "gemma3"}, "model_type is 'gemma3', and only .*gemma3_text"),
    ],
)
def test_a_setting_that_we_cannot_say_is_refused_with_file_and_name(name, changes, words, saved, tmp_path):
    config = json.loads((saved(name) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    (tmp_path / "model.safetensors").write_bytes((saved(name) / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=rf"config\.json: .*{words}"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("recipe", "details", "words"),
    [
        ("qwen2", {"head_dim": 12}, "head_dim is 12, which a Qwen2ForCausalLM cannot have"),
        ("qwen3", {"score_cap": 5.0}, "score_cap is 5.0, which a Qwen3ForCausalLM cannot have"),
        ("mistral", {"pattern": "gl", "window": 5}, "pattern is 'gl', and all layers have to be alike"),
        ("gemma2", {"pattern": "gn"}, "pattern is 'gn', and no layer can be without rotary"),
        ("smollm3", {"pattern": "l", "window": 5}, "pattern is 'l', and no layer can have a window|window is 5"),
    ],
)
def test_what_a_family_cannot_say_is_not_saved(recipe, details, words, tmp_path):
    model = Decoder(ModelConfig(V, 16, layers=2, width=32, heads=4, recipe=recipe, details=Details(**details)))
    with pytest.raises(ValueError, match=words):
        save_pretrained(model, tmp_path)
    assert not list(tmp_path.iterdir())
