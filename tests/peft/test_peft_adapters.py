"""LoRA between us and Hugging Face's peft: the same logits in both directions, and files that are not wholly a LoRA."""

import copy
import json

import pytest
import torch
from originals import CLASSES, V, close, peft, randomise
from torch import nn

from minillm.hub import load_peft_lora, save_peft_lora
from minillm.models import Decoder, Encoder, ModelConfig, SequenceClassifier
from minillm.peft import IA3, LoRA, adapter_names, adapters, freeze, inject, merge, remove, use
from minillm.system import load_file, save_file

IDS = torch.randint(V, (2, 12), generator=torch.Generator().manual_seed(0))


def loras(model):
    return [p for _, adapter in adapters(model) for p in adapter.own().values()]


@pytest.fixture
def written(pair, tmp_path):
    """A folder that peft has written for Llama, with ranks that differ, and our bare model."""
    theirs, ours = pair("llama")
    write(theirs, tmp_path, target_modules=["q_proj", "up_proj"], rank_pattern={"up_proj": 5})
    return tmp_path, ours


def write(theirs, folder, **config):
    """Let peft write an adapter that is not zero, and return its logits."""
    theirs = peft.get_peft_model(theirs, peft.LoraConfig(**{"r": 3, "lora_alpha": 7} | config)).eval()
    randomise([p for p in theirs.parameters() if p.requires_grad], seed=2)
    theirs.save_pretrained(folder)
    return theirs(IDS).logits.detach()


def read(theirs, folder):
    """The logits of a model with what peft reads from a folder."""
    return peft.PeftModel.from_pretrained(theirs, str(folder)).eval()(IDS).logits.detach()


ALPHAS = {
    "rank_pattern": {r"1\.(mlp\..*|intermediate\.dense)": 2, "up_proj|c_fc": 5},
    "alpha_pattern": {"q_proj|c_attn|query": 11.5},
}
THEIRS = {
    "gpt2": {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True},
    "llama": {"target_modules": ["q_proj", "v_proj", "down_proj", "up_proj", "lm_head"]},
    "bert": {"target_modules": r".*(query|value|intermediate\.dense)"},
}


@pytest.mark.parametrize("family", CLASSES)
@pytest.mark.parametrize(
    "more", [{}, {"use_rslora": True, "lora_dropout": 0.2}, ALPHAS, ALPHAS | {"use_rslora": True}], ids=len
)
@torch.no_grad()
def test_what_peft_writes_we_read_with_the_same_logits(family, more, pair, tmp_path):
    theirs, ours = pair(family)
    before = ours(IDS)
    expected = write(theirs, tmp_path, **THEIRS[family], **more)
    assert load_peft_lora(ours, tmp_path, "theirs") is ours and adapter_names(ours) == ["theirs"]
    close(ours(IDS), expected)
    assert not torch.allclose(before, expected, atol=0.1)
    assert {adapter.method.dropout for _, adapter in adapters(ours)} == {more.get("lora_dropout", 0.0)}
    torch.testing.assert_close(merge(ours)(IDS), expected, atol=1e-4, rtol=1e-4)


OURS = {
    "all": (LoRA(rank=3, alpha=7),),
    "stabilised": (LoRA(rank=3, alpha=7, rank_stabilised=True, dropout=0.1),),
    "some": (LoRA(rank=3, alpha=7, targets=("value", "query", "blocks.1.feed_forward.*")),),
    "values": (LoRA(rank=3, alpha=7, targets=("blocks.1.attention.value",)),),
}


@pytest.mark.parametrize("family", CLASSES)
@pytest.mark.parametrize("methods", OURS)
@pytest.mark.parametrize("shared", [False, True])
@torch.no_grad()
def test_what_we_write_peft_reads_with_the_same_logits_and_so_do_we(family, methods, shared, pair, tmp_path):
    theirs, ours = pair(family)
    bare = copy.deepcopy(ours)
    inject(ours, *OURS[methods])
    randomise(loras(ours))
    if shared:  # one A for queries, keys and values, as peft has it of GPT-2
        for path, adapter in adapters(ours):
            if ".attention." in path and adapter.A.size(1) == 32:
                adapter.A.fill_(0.1).add_(torch.arange(32) / 50)
    save_peft_lora(ours, tmp_path)
    close(read(theirs, tmp_path), ours(IDS))
    again = load_peft_lora(bare, tmp_path)
    assert {path for path, _ in adapters(again)} == {path for path, _ in adapters(ours)}
    for (_, one), (_, other) in zip(adapters(again), adapters(ours)):
        assert torch.equal(one.A, other.A) and torch.equal(one.B, other.B)
        assert one.method.scale == pytest.approx(other.method.scale) and one.method.rank == other.method.rank
        assert one.method.dropout == other.method.dropout
    close(again(IDS), ours(IDS))


def test_parts_of_a_fused_matrix_share_it_only_when_they_share_its_rows(pair, tmp_path):
    _, ours = pair("gpt2")
    inject(ours, LoRA(rank=3, alpha=7))
    randomise(loras(ours))
    save_peft_lora(ours, tmp_path / "apart")
    for _, adapter in adapters(ours):
        if adapter.A.size(1) == 32:
            adapter.A.data.fill_(0.5)
    save_peft_lora(ours, tmp_path / "shared")
    name = "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"
    assert load_file(tmp_path / "apart" / "adapter_model.safetensors")[0][name].shape == (9, 32)
    assert load_file(tmp_path / "shared" / "adapter_model.safetensors")[0][name].shape == (3, 32)
    apart, shared = (json.loads((tmp_path / n / "adapter_config.json").read_text()) for n in ("apart", "shared"))
    assert (apart["r"], apart["lora_alpha"], set(apart["rank_pattern"].values())) == (3, 7, {9})
    assert set(apart["alpha_pattern"].values()) == {21} and not shared["rank_pattern"] and not shared["alpha_pattern"]


def test_an_untrained_lora_of_theirs_can_still_learn_here(pair, tmp_path):
    theirs, ours = pair("gpt2")
    peft.get_peft_model(theirs, peft.LoraConfig(r=3, **THEIRS["gpt2"])).save_pretrained(tmp_path)
    expected = ours(IDS)
    load_peft_lora(ours, tmp_path)
    assert torch.equal(ours(IDS), expected)  # B is zero
    freeze(ours)
    ours(IDS).logsumexp(-1).sum().backward()
    assert all(adapter.method.rank == 3 and adapter.B.grad.abs().max() > 0 for _, adapter in adapters(ours))


def test_ranks_that_were_read_are_written_again(written, pair, tmp_path):
    folder, ours = written
    load_peft_lora(ours, folder)
    save_peft_lora(ours, tmp_path / "again")
    expected, came = (load_file(f / "adapter_model.safetensors")[0] for f in (folder, tmp_path / "again"))
    assert came.keys() == expected.keys() and all(torch.equal(came[key], expected[key]) for key in came)
    close(read(pair("llama")[0], tmp_path / "again"), ours(IDS))


class Small(nn.Module):
    """No model of ours, with one name that ends as another does."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.proj, self.inner = nn.Linear(6, 6), nn.ModuleDict({"proj": nn.Linear(6, 4, bias=False)})

    def forward(self, x):
        return self.inner["proj"](self.proj(x).relu())


@pytest.mark.parametrize("target", ["proj", "inner.proj"])
@torch.no_grad()
def test_any_module_keeps_its_own_names(target, tmp_path):
    x = torch.randn(5, 6)
    theirs = peft.get_peft_model(Small(), peft.LoraConfig(r=2, lora_alpha=3, target_modules=[target]))
    randomise([p for p in theirs.parameters() if p.requires_grad])
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_peft_lora(Small(), tmp_path / "theirs")
    close(ours(x), theirs(x))
    save_peft_lora(ours, tmp_path / "ours")
    close(peft.PeftModel.from_pretrained(Small(), str(tmp_path / "ours"))(x), theirs(x))


def test_one_of_two_names_that_end_alike_is_read_alone(tmp_path):
    theirs = peft.get_peft_model(Small(), peft.LoraConfig(r=2, target_modules="proj"))  # a pattern for the whole name
    theirs.save_pretrained(tmp_path)
    assert [path for path, _ in adapters(load_peft_lora(Small(), tmp_path))] == ["proj"]


@torch.no_grad()
def test_a_module_of_transformers_is_read_as_peft_reads_it(pair, tmp_path):
    theirs, _ = pair("llama")
    bare = copy.deepcopy(theirs)
    expected = write(theirs, tmp_path, target_modules="all-linear")
    close(load_peft_lora(bare, tmp_path)(IDS).logits, expected)


@torch.no_grad()
def test_the_models_own_output_layer_in_a_file_must_be_that_of_the_model(pair, tmp_path):
    theirs, ours = pair("llama")
    write(theirs, tmp_path, target_modules=["lm_head"])
    assert "base_model.model.lm_head.base_layer.weight" in load_file(tmp_path / "adapter_model.safetensors")[0]
    ours.head.weight[0, 0] += 1
    with pytest.raises(ValueError, match="holds a weight of lm_head itself, which is not that of this model"):
        load_peft_lora(ours, tmp_path)


@torch.no_grad()
def test_a_trunk_under_a_head_has_the_same_names_and_one_of_several_is_written(pair, tmp_path):
    theirs, ours = pair("gpt2")
    trunk = copy.deepcopy(ours)
    model = SequenceClassifier(ours, 3)
    inject(model, LoRA(rank=3, targets=("query",)), "first")
    inject(model, LoRA(rank=2, alpha=3, targets=("value", "up")), "second")
    randomise(loras(model))
    use(model, first=1)  # which says nothing of what is written
    save_peft_lora(model, tmp_path, "second")
    remove(model, "first")
    use(model, second=1)
    close(read(theirs, tmp_path), model.trunk(IDS))
    fresh = load_peft_lora(SequenceClassifier(trunk, 3), tmp_path)
    assert torch.equal(fresh.trunk(IDS), model.trunk(IDS))


@torch.no_grad()
def test_an_adapter_of_the_trunk_alone_has_short_names(pair, tmp_path):
    theirs, ours = pair("gpt2")
    write_trunk = peft.get_peft_model(theirs.transformer, peft.LoraConfig(r=3, **THEIRS["gpt2"])).eval()
    randomise([p for p in write_trunk.parameters() if p.requires_grad])
    write_trunk.save_pretrained(tmp_path)
    assert all(".model.h." in key for key in load_file(tmp_path / "adapter_model.safetensors")[0])
    load_peft_lora(ours, tmp_path)
    close(ours.hidden(IDS), write_trunk(IDS).last_hidden_state)


# What is refused


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3', and only 'LORA'"),
        ({"peft_type": "ADALORA"}, "peft_type is 'ADALORA'"),
        ({"use_dora": True}, "use_dora is True, which is not supported"),
        ({"bias": "lora_only"}, "bias is 'lora_only', and only 'none'"),
        ({"lora_bias": True}, "lora_bias is True"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save is \['lm_head'\]"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"layer_replication": [[0, 2]]}, "layer_replication is"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices is"),
        ({"something_new": 1}, "something_new is 1, which is not supported"),
        ({"r": "8"}, "r is '8', which is not of the type"),
        ({"r": True}, "r is True"),
        ({"r": 0}, "the rank is 0"),
        ({"lora_alpha": None, "lora_dropout": 1.0}, r"the dropout is 1\.0"),
        ({"use_rslora": 1}, "use_rslora is 1"),
        ({"rank_pattern": {"q_proj": 2.5}}, r"rank_pattern has 2\.5 for 'q_proj'"),
        ({"alpha_pattern": {"q_proj": "2"}}, "alpha_pattern has '2' for 'q_proj'"),
        ({"alpha_pattern": [1]}, "alpha_pattern is"),
        ({"target_modules": 3}, "target_modules is 3"),
    ],
)
def test_a_setting_that_we_cannot_say_is_refused(changes, words, written):
    folder, ours = written
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | changes))
    with pytest.raises(ValueError, match=rf"adapter_config\.json: .*{words}"):
        load_peft_lora(ours, folder)
    assert not adapter_names(ours)


def test_settings_of_whose_names_and_ranks_the_tensors_differ_are_refused(written):
    folder, ours = written
    settings = json.loads((folder / "adapter_config.json").read_text())
    for changes, words in (
        ({"r": 4}, r"the rank of model\.layers\.0\.self_attn\.q_proj is 3, where adapter_config\.json says 4"),
        ({"rank_pattern": {}}, r"the rank of .*up_proj is 5, where adapter_config\.json says 3"),
        ({"rank_pattern": {"(": 5}}, r"rank_pattern of adapter_config\.json has '\(', which is no regular"),
        ({"target_modules": ["q_proj", "v_proj"]}, r"lacks the tensors of .*v_proj, which target_modules names"),
    ):
        (folder / "adapter_config.json").write_text(json.dumps(settings | changes))
        with pytest.raises(ValueError, match=rf"adapter_model\.safetensors: .*{words}"):
            load_peft_lora(ours, folder)
    assert not adapter_names(ours)


Q = "base_model.model.model.layers.0.self_attn.q_proj.lora_"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop(f"{Q}A.weight"), r"of model\.layers\.0\.self_attn\.q_proj it holds lora_B without"),
        (lambda t: [t.pop(f"{Q}{x}.weight") for x in "AB"], r"lacks the tensors of model\.layers\.0\.self_attn\.q_"),
        (lambda t: t.update({f"{Q}magnitude_vector": torch.ones(32)}), "holds the tensor .*magnitude_vector, which"),
        (lambda t: t.update({f"{Q}A.weight": torch.ones(3)}), "holds the tensor .*lora_A"),
        (lambda t: t.update({f"{Q}A.weight": torch.ones(4, 32)}), "of different ranks, 4 and 3"),
        (
            lambda t: t.update({f"{Q}A.weight": torch.ones(3, 31)}),
            r"q_proj is \[32, 31\], where the model has",
        ),
        (lambda t: t.update({f"{Q}B.weight": torch.ones(40, 3)}), r"q_proj is \[40, 32\], where the model has"),
        (
            lambda t: t.update({k.replace("layers.1", "layers.7"): v for k, v in t.items()}),
            r"model\.layers\.7\.mlp\.up_proj is adapted, and this model has no linear layer of that name",
        ),
        (lambda t: t.clear(), "holds no tensors"),
    ],
)
def test_tensors_that_are_no_lora_of_this_model_are_refused_by_name(change, words, written):
    folder, ours = written
    tensors, _ = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=rf"adapter_model\.safetensors: .*{words}"):
        load_peft_lora(ours, folder)
    assert not adapter_names(ours)


def test_nothing_is_unpickled_and_a_taken_name_stays_as_it_is(written, tmp_path):
    folder, ours = written
    load_peft_lora(ours, folder)
    with pytest.raises(ValueError, match="an adapter called 'default' is on this model already"):
        load_peft_lora(ours, folder)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ValueError, match=r"adapter_model\.bin: is pickled.*PeftModel\.from_pretrained"):
        load_peft_lora(ours, folder, "other")
    (folder / "adapter_model.bin").unlink()
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors: there is no such file"):
        load_peft_lora(ours, folder, "other")
    with pytest.raises(ValueError, match=r"adapter_config\.json: there is no such file"):
        load_peft_lora(ours, tmp_path / "nowhere", "other")


def test_what_peft_has_no_place_for_is_not_written(tmp_path):
    size = {"vocab_size": V, "context": 16, "layers": 1, "width": 16, "heads": 2}
    model = Decoder(ModelConfig(**size, recipe="gpt2"))
    with pytest.raises(ValueError, match="the adapters on this model are none"):
        save_peft_lora(model, tmp_path)
    inject(model, IA3(), "scales")
    with pytest.raises(ValueError, match=r"'scales' \(ia3\) on .* is no LoRA"):
        save_peft_lora(model, tmp_path)
    inject(model, LoRA(targets=("head",)), "words")
    with pytest.raises(ValueError, match="are scales, words; say which"):
        save_peft_lora(model, tmp_path)
    with pytest.raises(ValueError, match="'poems': the adapters on this model are scales, words"):
        save_peft_lora(model, tmp_path, "poems")
    with pytest.raises(ValueError, match="head is adapted, which is no part of a Hugging Face model"):
        save_peft_lora(model, tmp_path, "words")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"what it could adapt is called: query, .*transform"):
        inject(Encoder(ModelConfig(**size, recipe="bert")), LoRA(targets=("head",)))
