"""The transformer's invariants: what may influence what, and that every way of computing agrees."""

import math

import pytest
import torch

from minillm.models import RECIPES, Decoder, Encoder, ModelConfig, attention
from minillm.training import causal_lm_loss

RECIPE_NAMES = list(RECIPES)


def small(recipe="minillm", cls=Decoder, **changes):
    """A small model in which nothing is zero, so that nothing can hide."""
    torch.manual_seed(0)
    model = cls(
        ModelConfig(
            **{"vocab_size": 50, "context": 32, "layers": 2, "width": 32, "heads": 4, "recipe": recipe} | changes
        )
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def tokens(B=2, T=12, seed=1):
    return torch.randint(0, 50, (B, T), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("recipe", [name for name in RECIPE_NAMES if "gemma" not in name])  # whose tables shout
@pytest.mark.parametrize("vocab_size", [65, 1024])
def test_the_untrained_loss_is_the_logarithm_of_the_vocabulary(recipe, vocab_size):
    torch.manual_seed(0)
    model = Decoder(ModelConfig(vocab_size, context=64, recipe=recipe))
    ids = torch.randint(0, vocab_size, (8, 64))
    assert abs(causal_lm_loss(model(ids), ids).item() - math.log(vocab_size)) < 0.1


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_a_future_token_changes_no_past_logit(recipe):
    model, ids = small(recipe), tokens()
    before = model(ids)
    for t in range(1, 12):
        changed = ids.clone()
        changed[:, t] = (changed[:, t] + 1) % 50
        after = model(changed)
        assert torch.equal(after[:, :t], before[:, :t])
        assert not torch.allclose(after[:, t], before[:, t])


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_in_an_encoder_every_token_is_seen_from_everywhere(recipe):
    model, ids = small(recipe, Encoder), tokens()
    before = model(ids)
    for t in range(12):
        changed = ids.clone()
        changed[:, t] = (changed[:, t] + 1) % 50
        assert ((model(changed) - before).abs().amax(-1) > 1e-4).all()


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
@pytest.mark.parametrize("cls", [Decoder, Encoder])
@pytest.mark.parametrize("side", ["left", "right"])
def test_segments_tell_texts_apart_whatever_the_padding(recipe, cls, side):
    model, ids = small(recipe, cls, segments=2), tokens()
    segments = torch.cat((torch.zeros(2, 7), torch.ones(2, 5)), 1).long()
    assert torch.equal(model(ids, segment_ids=torch.zeros_like(ids)), model(ids))
    came = model(ids, segment_ids=segments)
    assert not torch.allclose(came[:, -1], model(ids)[:, -1])
    assert torch.equal(came[:, :7], model(ids)[:, :7]) == (cls is Decoder)  # what comes later is not yet seen
    pad = (9, 0) if side == "left" else (0, 9)
    widen = lambda x, value: torch.nn.functional.pad(x, pad, value=value)  # noqa: E731
    mask = widen(torch.ones_like(ids), 0)
    padded = model(widen(ids, 3), mask, segment_ids=widen(segments, 1), keep=mask.bool())
    torch.testing.assert_close(padded, came.flatten(0, 1), atol=1e-5, rtol=1e-5)


def test_segments_are_read_with_the_cache_too_and_refused_without_a_table():
    model, ids = small(segments=2), tokens()
    segments = tokens(seed=4) % 2
    expected, cache = model(ids, segment_ids=segments), model.new_cache(2, 12)
    parts = [model(ids[:, part], segment_ids=segments[:, part], cache=cache) for part in (slice(0, 5), slice(5, 12))]
    torch.testing.assert_close(torch.cat(parts, 1), expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="a model without segments: build it with segments=2"):
        small()(ids, segment_ids=segments)


def plain_bert(model, ids, segments):
    """BERT step by step, as in Devlin et al. 2019 and Vaswani et al. 2017, with the plain formula of attention."""
    F, c = torch.nn.functional, model.config
    norm = lambda x, module: F.layer_norm(x, (c.width,), module.weight, module.bias, c.norm_eps)  # noqa: E731
    x = model.embedding(ids) + model.segment.weight[segments] + model.position.weight[: ids.size(1)]
    x = norm(x, model.first_norm)
    for block in model.blocks:
        at = block.attention
        q, k, v = (m(x).unflatten(-1, (c.heads, -1)).transpose(1, 2) for m in (at.query, at.key, at.value))
        x = norm(x + at.output(attention(q, k, v)[0].transpose(1, 2).flatten(2)), block.norm_1)
        up = block.feed_forward.up(x)
        x = norm(x + block.feed_forward.down(up * (1 + torch.erf(up / 2**0.5)) / 2), block.norm_2)
    x = model.head.transform(x)
    x = norm(x * (1 + torch.erf(x / 2**0.5)) / 2, model.head.norm)
    return x @ model.embedding.weight.T + model.head.bias


def test_the_bert_recipe_is_the_paper_s_model():
    model, ids = small("bert", Encoder, segments=2, norm_eps=0.01), tokens()
    segments = tokens(seed=5) % 2
    came = model(ids, segment_ids=segments)
    torch.testing.assert_close(came, plain_bert(model, ids, segments), atol=1e-5, rtol=1e-5)
    assert torch.equal(model.head(model.hidden(ids, segment_ids=segments)), came)


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
@pytest.mark.parametrize("cls", [Decoder, Encoder])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pads", [0, 1, 50])
def test_padding_changes_nothing_on_either_side(recipe, cls, side, pads):
    model, ids = small(recipe, cls, context=64), tokens()
    junk, real = tokens(2, pads, seed=3), torch.ones_like(ids)
    none = torch.zeros_like(junk)
    parts, masks = ([junk, ids], [none, real]) if side == "left" else ([ids, junk], [real, none])
    padded = model(torch.cat(parts, 1), torch.cat(masks, 1))
    own = padded[:, pads:] if side == "left" else padded[:, :12]
    torch.testing.assert_close(own, model(ids), atol=1e-5, rtol=1e-5)
    assert padded.isfinite().all()


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
@pytest.mark.parametrize("chunks", [[12], [1] * 12, [5, 1, 1, 5], [3, 4, 5]])
def test_reading_with_the_cache_gives_the_same_logits_at_every_step(recipe, chunks):
    model, ids = small(recipe, kv_heads=2), tokens()
    expected, cache, at, parts = model(ids), model.new_cache(2, 16), 0, []
    for n in chunks:
        parts.append(model(ids[:, at : at + n], cache=cache))
        at += n
    torch.testing.assert_close(torch.cat(parts, 1), expected, atol=1e-5, rtol=1e-5)
    assert cache.length == 12


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_the_cache_works_with_padding_on_the_left(recipe):
    model, ids = small(recipe), tokens()
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    expected, cache = model(ids, mask), model.new_cache(2, 12)
    parts = [model(ids[:, :7], mask[:, :7], cache=cache)]
    parts += [model(ids[:, t : t + 1], mask[:, : t + 1], cache=cache) for t in range(7, 12)]
    torch.testing.assert_close(torch.cat(parts, 1)[mask.bool()], expected[mask.bool()], atol=1e-5, rtol=1e-5)


def test_embeddings_may_be_given_in_place_of_ids():
    model, ids = small(), tokens()
    assert torch.equal(model(inputs_embeds=model.embedding(ids)), model(ids))


def test_logits_are_the_head_of_the_hidden_vectors():
    model, ids = small(), tokens()
    assert model.hidden(ids).shape == (2, 12, 32)
    assert torch.equal(model.head(model.hidden(ids)), model(ids))


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_bf16_and_fp32_agree_in_loss(recipe):
    torch.manual_seed(0)
    model = Decoder(ModelConfig(200, context=64, recipe=recipe))
    ids = torch.randint(0, 200, (4, 64))
    exact = causal_lm_loss(model(ids), ids).item()
    with torch.autocast("cpu", torch.bfloat16):
        assert abs(causal_lm_loss(model(ids), ids).item() - exact) < 0.02


def test_the_gpt2_recipe_ties_its_head_to_its_embedding_and_scales_its_branches():
    torch.manual_seed(0)
    model = Decoder(ModelConfig(500, layers=8, width=128, recipe="gpt2"))
    assert model.head.weight is model.embedding.weight
    expected = 0.02 / math.sqrt(2 * 8)
    assert abs(model.blocks[0].attention.output.weight.std().item() / expected - 1) < 0.05


def test_the_bert_recipe_ties_its_head_and_leaves_its_branches_whole():
    torch.manual_seed(0)
    model = Encoder(ModelConfig(500, layers=8, width=128, recipe="bert", segments=2))
    assert model.head.weight is model.embedding.weight
    for matrix in (model.blocks[7].feed_forward.down.weight, model.segment.weight, model.head.transform.weight):
        assert abs(matrix.std().item() / 0.02 - 1) < 0.1
    assert not any(p.any() for name, p in model.named_parameters() if name.endswith("bias"))


def test_a_text_longer_than_the_context_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match="33 tokens is longer than the model's context of 32"):
        small()(torch.zeros(1, 33, dtype=torch.long))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipe": "gpt9"}, "unknown recipe 'gpt9'"),
        ({"width": 30}, "width 30"),
        ({"kv_heads": 3}, "heads 4 must divide by kv_heads 3"),
        ({"layers": 0}, "layers is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"segments": -1}, "segments is -1"),
    ],
)
def test_a_size_that_cannot_be_built_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        ModelConfig(**({"vocab_size": 50, "width": 32, "heads": 4} | changes))


def test_a_mask_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="covers 11 positions where there are 12"):
        small()(tokens(), torch.ones(2, 11))


def test_over_fitting_one_batch_reaches_zero_loss():
    torch.manual_seed(0)
    model, ids = Decoder(ModelConfig(50, context=16, layers=2, width=64, heads=2)), tokens(4, 16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        loss = causal_lm_loss(model(ids), ids)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def kept_bytes(model, ids):
    """Bytes of the distinct activations (no weights) that a forward pass keeps for the backward pass."""
    weights = {p.data_ptr() for p in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # the tensor is held so that no address returns
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = causal_lm_loss(model(ids), ids)
    return sum(size for size, _ in kept.values()), loss


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_what_is_frozen_keeps_no_activations_and_computes_no_gradients(recipe):
    torch.manual_seed(0)
    model = Decoder(ModelConfig(50, 32, layers=4, width=32, heads=2, recipe=recipe))
    ids = torch.randint(50, (4, 32))
    everything, _ = kept_bytes(model, ids)
    model.requires_grad_(False)
    model.blocks[-1].feed_forward.down.weight.requires_grad_()
    last, loss = kept_bytes(model, ids)
    assert last < 0.2 * everything  # nothing below the last layer is kept
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["blocks.3.feed_forward.down.weight"]
    model.requires_grad_(False)
    model.embedding.weight.requires_grad_()  # as a soft prompt: everything above is on the way, but is not to be moved
    model.head.weight.requires_grad_(RECIPES[recipe].tied)
    through, _ = kept_bytes(model, ids)
    inputs = 4 * 4 * 32 * 4 * 32  # the four layers' attention inputs, (4, 32, 32) in fp32
    assert through < everything - inputs  # a frozen matrix does not keep what it multiplied
