"""Attention maps against what the layers put out, and induction heads against one made by hand."""

import pytest
import torch

from minillm.inference import attention_maps, induction_scores
from minillm.models import LSTMLM, RECIPES, Decoder, Encoder, LSTMConfig, ModelConfig, SelfAttention


def small(recipe="minillm", cls=Decoder, **changes):
    torch.manual_seed(0)
    settings = {"vocab_size": 50, "context": 64, "layers": 2, "width": 32, "heads": 4, "recipe": recipe}
    model = cls(ModelConfig(**settings | changes))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def tokens(B=2, T=9):
    return torch.randint(0, 50, (B, T), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("recipe", list(RECIPES))
@pytest.mark.parametrize("cls", [Decoder, Encoder])
@pytest.mark.parametrize("padded", [False, True])
def test_the_maps_are_the_weights_by_which_every_layer_makes_its_output(cls, recipe, kv_heads, padded):
    model, ids = small(recipe, cls, kv_heads=kv_heads), tokens()
    mask = torch.tensor([[0] * 3 + [1] * 6, [1] * 9]) if padded else None
    maps, seen = attention_maps(model, ids, mask), []
    for block in model.blocks:
        block.attention.register_forward_hook(lambda layer, inputs, output: seen.append((layer, inputs, output)))
    model(ids, mask)
    assert maps.shape == (2, 2, 4, 9, 9) and len(seen) == 2
    for weights, (layer, (x, rotary, *_), output) in zip(maps, seen):
        v = layer.project(x, rotary)[2].repeat_interleave(4 // kv_heads, dim=1)
        torch.testing.assert_close(layer.output((weights @ v).transpose(1, 2).flatten(2)), output, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 2, 4, 9))
    assert (maps.triu(1).abs().sum() == 0) == (cls is Decoder)
    assert not padded or maps[:, 0, :, 3:, :3].abs().sum() == 0


def test_looking_leaves_no_trace_even_when_it_fails():
    model = small().train()
    with pytest.raises(ValueError, match="longer than the model's context"):
        attention_maps(model, tokens(T=65))
    attention_maps(model, tokens())
    assert model.training and not any(module._forward_pre_hooks for module in model.modules())
    with pytest.raises(ValueError, match="LSTMLM has no self-attention"):
        attention_maps(LSTMLM(LSTMConfig(50, width=8)), tokens())


def test_the_scores_equal_a_loop_over_samples_and_positions():
    model, vocabulary, length = small(), [3, 5, 8, 9, 20, 30, 41], 5
    scores = induction_scores(model, vocabulary, 1, length, 6, torch.Generator().manual_seed(2))
    generator, expected = torch.Generator().manual_seed(2), torch.zeros(2, 4)
    for _ in range(6):
        drawn = [vocabulary[i] for i in torch.randperm(7, generator=generator)[:length]]
        text = [1, *drawn, *drawn]
        maps = attention_maps(model, torch.tensor([text]))[:, 0]
        for t in range(1 + length, 1 + 2 * length):
            expected += maps[:, :, t, text.index(text[t]) + 1] / (6 * length)
    torch.testing.assert_close(scores, expected)


def test_heads_that_ask_for_nothing_look_everywhere_alike():
    model, length = small("gpt2"), 8
    for module in model.modules():
        if isinstance(module, SelfAttention):
            torch.nn.init.zeros_(module.query.weight)
            torch.nn.init.zeros_(module.query.bias)
    even = sum(1 / (t + 1) for t in range(1 + length, 1 + 2 * length)) / length
    torch.testing.assert_close(induction_scores(model, range(50), 0, length, 4), torch.full((2, 4), even))
    assert even == pytest.approx(2 / (3 * length), rel=0.1)


def test_one_layer_with_a_token_shift_can_hold_an_induction_head_made_by_hand():
    # A token's code stands in both halves of its vector. The shift drowns the second half in the token before; the
    # query is the first half and the key the second, so each token looks for the place whose predecessor it was.
    D, V = 64, 40
    model = Decoder(ModelConfig(V, context=64, layers=1, width=2 * D, heads=2, rope_theta=1e30)).eval()
    code = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(0)))[0][:V]
    model.embedding.weight.data = torch.cat([code, code], dim=1)
    model.shift.share.data = torch.tensor([0.0] * D + [20.0] * D)
    layer, none, identity = model.blocks[0].attention, torch.zeros(D, D), torch.eye(D)
    layer.query.weight.data = torch.cat([torch.cat([identity, none], 1), torch.cat([none, none], 1)])
    layer.key.weight.data = torch.cat([torch.cat([none, identity], 1), torch.cat([none, none], 1)])
    for length in (5, 11, 20):
        made, idle = induction_scores(model, range(1, V), 0, length, 8, torch.Generator().manual_seed(1))[0].tolist()
        assert made > 0.9 and idle < 0.2


def test_a_vocabulary_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="9 different tokens are to be drawn from a vocabulary of 8"):
        induction_scores(small(), range(8), 0, length=9)
