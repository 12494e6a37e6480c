"""The stream against a walk through the layers by hand; edits against the same done to weights; nothing stays."""

import contextlib

import pytest
import torch

from minillm.inference import (
    edited,
    generate,
    head_effects,
    logit_lens,
    mean_head_outputs,
    patched,
    patching_map,
    residual_stream,
    steered,
    steering_vector,
    without_heads,
)  # fmt: skip
from minillm.models import LSTMLM, Decoder, LSTMConfig, ModelConfig
from minillm.peft import LoRA, inject

RECIPES = ("minillm", "gpt2", "llama", "gpt2-gated", "gemma2", "gpt_neox")


def small(recipe="minillm", **changes):
    torch.manual_seed(0)
    settings = {"vocab_size": 50, "context": 32, "layers": 3, "width": 32, "heads": 4, "recipe": recipe}
    model = Decoder(ModelConfig(**settings | changes))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def tokens(B=2, T=9, seed=1):
    return torch.randint(0, 50, (B, T), generator=torch.Generator().manual_seed(seed))


def by_hand(model, ids, change=lambda site, x: x):
    """The stream at every site, and the logits, layer after layer."""
    T = ids.size(1)
    rotary = None if model.position is not None else (model.cos[:T][None, None], model.sin[:T][None, None])
    x = model.embedding(ids) if rotary else model.embedding(ids) + model.position(torch.arange(T))
    x = change(0, model.first_norm(model.shift(x, None, None)))
    sites = [x]
    for number, block in enumerate(model.blocks, 1):
        x = change(number, block(x, rotary, None, None))
        sites.append(x)
    return torch.stack(sites), model.head(model.norm(x))


@torch.no_grad()
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_stream_and_the_lens_are_a_walk_through_the_layers(recipe):
    model, ids = small(recipe), tokens()
    stream, logits = by_hand(model, ids)
    torch.testing.assert_close(residual_stream(model, ids), stream)
    lens = logit_lens(model, ids)
    assert torch.equal(lens[-1], model(ids))
    torch.testing.assert_close(lens[1], model.head(model.norm(stream[1])))
    torch.testing.assert_close(logits, model(ids))


@torch.no_grad()
@pytest.mark.parametrize("site", range(4))
def test_patching_is_the_walk_with_another_text_s_vectors(site):
    model, ids, other = small(), tokens(), tokens(seed=2)
    source, where = by_hand(model, other)[0], torch.rand(2, 9, generator=torch.Generator().manual_seed(3)) < 0.4
    put = lambda at, x: torch.where(where[..., None], source[at], x) if at == site else x  # noqa: E731
    torch.testing.assert_close(
        patched(model, ids, residual_stream(model, other), site, where), by_hand(model, ids, put)[1]
    )
    everywhere = torch.ones_like(where)
    torch.testing.assert_close(patched(model, ids, residual_stream(model, other), site, everywhere), model(other))


@torch.no_grad()
def test_the_map_of_patches_is_one_at_the_place_that_differs_and_none_before_it():
    model, ids = small(), tokens(1)
    other = ids.clone()
    other[0, 4] = (ids[0, 4] + 1) % 50
    shares = patching_map(model, ids, other, lambda logits: logits[:, -1, 3] - logits[:, -1, 5])
    assert shares.shape == (4, 9) and shares[:, :4].abs().max() < 1e-4
    torch.testing.assert_close(shares[0, 4] + shares[0, 5], torch.tensor(1.0), atol=2.0, rtol=0)
    torch.testing.assert_close(shares[3, 8], torch.tensor(1.0))  # the last site at the last token is the answer
    with pytest.raises(ValueError, match="both texts have the same score"):
        patching_map(model, ids, ids, lambda logits: logits[:, -1, 3])
    with pytest.raises(ValueError, match="the source has texts of 9 tokens, the patched 5"):
        patched(model, tokens(1, 5), residual_stream(model, ids), 0, torch.ones(1, 5, dtype=torch.bool))


@torch.no_grad()
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_head_without_its_columns_of_the_output_matrix_is_an_ablated_head(recipe):
    model, ids, gone = small(recipe), tokens(), small(recipe)
    D = model.config.head_dim
    for layer, head in ((0, 1), (2, 3), (2, 0)):
        gone.blocks[layer].attention.output.weight[:, head * D : (head + 1) * D] = 0
    with without_heads(model, [(0, 1), (2, 3), (2, 0)]):
        torch.testing.assert_close(model(ids), gone(ids))
    score = lambda logits: logits[:, -1, 7]  # noqa: E731
    effects = head_effects(model, ids, score)
    assert effects.shape == (3, 4)
    one = small(recipe)
    one.blocks[1].attention.output.weight[:, 2 * D : 3 * D] = 0
    torch.testing.assert_close(effects[1, 2], (score(model(ids)) - score(one(ids))).mean())


@torch.no_grad()
def test_a_mean_ablated_head_adds_the_mean_of_what_it_adds():
    model, ids = small(), tokens()
    means, D = mean_head_outputs(model, ids), 8
    seen = []
    model.blocks[0].attention.output.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model(ids)
    torch.testing.assert_close(means[0].flatten(), seen[0].mean((0, 1)))
    model, other = small(), small()
    output = other.blocks[2].attention.output
    output.bias = torch.nn.Parameter(output.weight[:, :D] @ mean_head_outputs(small(), ids)[2, 0])
    output.weight[:, :D] = 0
    with without_heads(model, [(2, 0)], mean_head_outputs(small(), ids)):
        torch.testing.assert_close(model(ids), other(ids))


@torch.no_grad()
def test_steering_adds_a_difference_of_means_also_while_generating_from_a_cache():
    model, ids = small(), tokens()
    groups = list(tokens(3)), [row[:4] for row in tokens(2, seed=5)]
    vector = steering_vector(model, *groups, 1)
    means = [torch.stack([by_hand(model, t[None])[0][1, 0, -1] for t in texts]).mean(0) for texts in groups]
    torch.testing.assert_close(vector, means[0] - means[1])
    expected = by_hand(model, ids, lambda at, x: x + 3 * vector if at == 1 else x)[1]
    with steered(model, 1, vector, 3.0):
        torch.testing.assert_close(model(ids), expected)
        written = generate(model, ids, 4, temperature=0)
        for t in range(9, 13):
            assert written[:, t].equal(model(written[:, :t])[:, -1].argmax(-1))
    with pytest.raises(ValueError, match="there are none of one"):
        steering_vector(model, [], groups[1], 1)


@torch.no_grad()
@pytest.mark.parametrize("broken", [False, True])
def test_the_model_is_left_as_it_was_to_the_bit_also_after_an_error(broken):
    model, ids = inject(small().train(), LoRA(rank=2), name="one"), tokens()
    before, weights = model.eval()(ids), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    bad = tokens(T=40) if broken else ids  # longer than the context
    caught = pytest.raises(ValueError, match="longer than the model's context") if broken else contextlib.nullcontext
    last = lambda logits: logits[:, -1, 0]  # noqa: E731
    calls = [
        lambda: residual_stream(model, bad), lambda: logit_lens(model, bad), lambda: head_effects(model, bad, last),
        lambda: mean_head_outputs(model, bad), lambda: steering_vector(model, [bad[0]], [ids[0]], 2),
        lambda: patched(model, bad, torch.zeros(4, 2, bad.size(1), 32), 1, torch.ones_like(bad).bool()),
    ]  # fmt: skip
    for call in calls:
        with caught if broken else caught():
            call()
    with pytest.raises(ZeroDivisionError), edited(model, 1, lambda x: 1 / 0):
        model(ids)
    with pytest.raises(ZeroDivisionError), steered(model, 2, torch.ones(32)), without_heads(model, [(0, 0)]):
        raise ZeroDivisionError
    assert model.training and torch.equal(model.eval()(ids), before)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_what_is_not_there_is_refused():
    model = small()
    with pytest.raises(ValueError, match="site is 4: a model of 3 layers has those from 0 to 3"), edited(model, 4, id):
        pass
    with pytest.raises(ValueError, match="no head 4 of layer 1 in a model of 3"), without_heads(model, [(1, 4)]):
        pass
    with pytest.raises(ValueError, match="this LSTMLM has no list of layers"):
        residual_stream(LSTMLM(LSTMConfig(50, width=8)), tokens())
