"""Activations computed twice: the same gradients, less memory, and nobody outside sees it."""

import copy

import pytest
import torch

from minillm.align.pairs import next_tokens_of_pairs
from minillm.cli import main
from minillm.inference import generate
from minillm.models import LSTMLM, Decoder, Encoder, LSTMConfig, ModelConfig, RewardModel
from minillm.peft import METHODS, freeze, inject
from minillm.training import causal_lm, next_tokens, recompute

SIZE = {"vocab_size": 40, "context": 48, "layers": 3, "width": 32, "heads": 2, "dropout": 0.3}


def model(kind=Decoder, **changes):
    torch.manual_seed(0)
    made = kind(ModelConfig(**SIZE | changes))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


def gradients(model, batch, loss=causal_lm):
    """The gradients of a step with dropout on, and the generator's next number."""
    torch.manual_seed(3)
    total, _ = loss(model.train(), batch)
    total.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, torch.rand(1)


def batch():
    ids = torch.randint(40, (4, 24), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "labels": ids}


def same(first, second):
    assert first[0].keys() == second[0].keys() and torch.equal(first[1], second[1])
    for name, gradient in first[0].items():
        assert torch.equal(gradient, second[0][name]), name


@pytest.mark.parametrize("recipe", ["minillm", "gpt2", "llama-tied", "bert"])
def test_the_gradients_are_the_same_with_dropout_on(recipe):
    plain = model(recipe=recipe)
    twice = recompute(copy.deepcopy(plain))
    assert plain.state_dict().keys() == twice.state_dict().keys()
    same(gradients(plain, batch()), gradients(twice, batch()))


@pytest.mark.parametrize("method", METHODS)
def test_it_goes_with_every_adapter_put_on_before_or_after(method):
    def adapted(order):
        made = model(recipe="llama", dropout=0.1)
        for one in order:
            made = recompute(made) if one == "recompute" else inject(made, METHODS[method](), generator=generator())
        for parameter in made.parameters():
            parameter.data += 0.01
        freeze(made)
        return made

    def generator():
        return torch.Generator().manual_seed(2)

    expected = gradients(adapted(["inject"]), batch())
    same(expected, gradients(adapted(["inject", "recompute"]), batch()))
    same(expected, gradients(adapted(["recompute", "inject"]), batch()))


def test_it_goes_with_any_model_that_has_a_list_of_layers():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=48
    )
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(config)

    def loss(model, batch):
        return model(batch["input_ids"], use_cache=False).logits.square().mean(), 1

    other = recompute(copy.deepcopy(theirs))
    same(gradients(theirs, batch(), loss), gradients(other, batch(), loss))


def held(model, batch):
    """Bytes that are saved between the forward and the backward pass, each storage once, without the weights."""
    weights, seen = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        causal_lm(model.train(), batch)
    return sum(size for size, _ in seen.values())


def test_what_is_kept_does_not_grow_by_a_layer_s_activations():
    sizes = {}
    for twice in (False, True):
        few, many = model(recipe="llama", layers=2), model(recipe="llama", layers=6)
        if twice:
            few, many = recompute(few), recompute(many)
        sizes[twice] = (held(many, batch()) - held(few, batch())) / 4
    assert sizes[False] > 10 * 4 * 4 * 23 * 32  # bytes of ten vectors a position
    assert sizes[True] <= 1.5 * 4 * 4 * 23 * 32  # what the layer was given, and no more


def test_a_cache_is_filled_once_and_pairs_are_read_row_by_row():
    plain = model(recipe="llama").eval()
    twice = recompute(copy.deepcopy(plain))
    ids = torch.arange(5)[None]
    assert torch.equal(generate(plain, ids, 8, temperature=0), generate(twice, ids, 8, temperature=0))
    cache = twice.new_cache(1, 8)
    twice(ids, cache=cache)  # with gradients on
    assert cache.length == 5
    rows = torch.randint(40, (4, 20), generator=torch.Generator().manual_seed(0))
    rows[1::2, :12] = rows[0::2, :12]
    labels = rows.clone()
    labels[:, :12] = -100
    pairs = {"input_ids": rows, "labels": labels}
    expected = next_tokens(plain, pairs)[0]
    found = next_tokens_of_pairs(twice, pairs)[0]
    assert torch.allclose(found, expected, atol=1e-5)
    found.sum().backward()


def test_a_trunk_under_a_head_and_an_encoder_are_wrapped_too_and_an_lstm_is_refused():
    reward = recompute(RewardModel(model()))
    assert all("forward" in vars(block) for block in reward.trunk.blocks)
    assert "forward" in vars(recompute(model(Encoder)).blocks[0])
    with pytest.raises(ValueError, match="this LSTMLM has no list of layers whose activations could be recomputed"):
        recompute(LSTMLM(LSTMConfig(vocab_size=9)))


def test_a_run_with_recompute_ends_with_the_same_weights(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"a good film, number {i}, and a bad one" for i in range(60)))
    size = "--depth 2 --width 16 --heads 2 --vocab-size 280 --context 16 --max-steps 4".split()
    size += ["--device", "cpu", "--dtype", "fp32"]
    runs = [tmp_path / "plain", tmp_path / "twice"]
    for run, more in zip(runs, ([], ["--recompute"])):
        assert main(["pretrain", "--data", str(text), *size, *more, "--out", str(run)]) == 0
    assert runs[0].joinpath("model.safetensors").read_bytes() == runs[1].joinpath("model.safetensors").read_bytes()
    assert main(["pretrain", "--data", str(text), *size, "--model", "lstm", "--recompute", "--out", str(tmp_path)]) == 2
