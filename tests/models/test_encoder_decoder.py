"""Cross-attention and the decoder's layers against torch's own; the cache; padding; a task that it learns."""

import random

import pytest
import torch
from torch import nn

from minillm.data import Padded
from minillm.models import CrossAttention, EncoderDecoder, ModelConfig, attention
from minillm.tales import make_translations, to_lantic
from minillm.text import Tokenizer
from minillm.training import TrainConfig, fit, sequence_to_sequence, teacher_forced, translate, translation_example

SIZE = {"vocab_size": 20, "context": 16, "layers": 2, "width": 16, "heads": 2}


def small(recipe="gpt2", **changes):
    torch.manual_seed(0)
    model = EncoderDecoder(ModelConfig(recipe=recipe, **SIZE | changes))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def ids(B, T, seed=1):
    return torch.randint(0, 20, (B, T), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def torchs_layer(block):
    """torch's own decoder layer with the weights of ours."""
    theirs = nn.TransformerDecoderLayer(16, 2, block.feed_forward.up.out_features, 0.0, nn.functional.gelu, 1e-5, True,
                                        norm_first=True).eval()  # fmt: skip
    theirs.activation = block.feed_forward.activation
    pairs = [(block.attention, theirs.self_attn), (block.cross, theirs.multihead_attn)]
    for ours, other in pairs:
        parts = (ours.query, ours.key, ours.value)
        other.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        other.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        other.out_proj.load_state_dict(ours.output.state_dict())
    theirs.linear1.load_state_dict(block.feed_forward.up.state_dict())
    theirs.linear2.load_state_dict(block.feed_forward.down.state_dict())
    norms = [(block.norm_1, theirs.norm1), (block.norm_cross, theirs.norm2), (block.norm_2, theirs.norm3)]
    for ours, other in norms:
        other.load_state_dict(ours.state_dict())
    return theirs


@torch.no_grad()
def test_the_decoder_s_layers_are_torch_s():
    model, target, source = small(), ids(2, 5), ids(2, 7, 2)
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    memory = model.encode(source, mask)
    x = model.encoder.embedding(target) + model.position(torch.arange(5))
    for block in model.blocks:
        causal = nn.Transformer.generate_square_subsequent_mask(5)
        x = torchs_layer(block)(x, memory, causal, memory_key_padding_mask=mask == 0)
    torch.testing.assert_close(model(source, target, mask), model.head(model.norm(x)), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_cross_attention_is_the_plain_formula_and_its_weights_can_be_seen():
    layer, x, memory = CrossAttention(16, 2), torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    q, k, v = layer.split(layer.query(x)), layer.split(layer.key(memory)), layer.split(layer.value(memory))
    output, weights = attention(q, k, v)
    torch.testing.assert_close(layer(x, memory, None), layer.output(output.transpose(1, 2).flatten(2)))
    torch.testing.assert_close(layer.weights(x, memory), weights)


@torch.no_grad()
@pytest.mark.parametrize("recipe", ["minillm", "gpt2", "llama", "gpt2-gated"])
def test_the_future_is_hidden_padding_is_as_nothing_and_a_cache_changes_nothing(recipe):
    model, target, source = small(recipe), ids(2, 5), ids(2, 7, 2)
    logits, other = model(source, target), target.clone()
    other[:, 3] = (other[:, 3] + 1) % 20
    torch.testing.assert_close(model(source, other)[:, :3], logits[:, :3])
    padded, mask = torch.cat([source, ids(2, 3, 3)], 1), torch.cat([torch.ones(2, 7), torch.zeros(2, 3)], 1).long()
    torch.testing.assert_close(model(padded, target, mask), logits, atol=1e-5, rtol=1e-4)
    memory, cache = model.encode(source), model.new_cache(2, 5)
    steps = [model.head(model.decode(target[:, t : t + 1], memory, cache=cache)) for t in range(5)]
    torch.testing.assert_close(torch.cat(steps, 1), logits, atol=1e-5, rtol=1e-4)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="recipe bert has post-norm"):
        small("bert")
    with pytest.raises(ValueError, match="a text of 17 tokens is longer than the model's context of 16"):
        small()(ids(1, 4), ids(1, 17))
    with pytest.raises(ValueError, match="texts of 3 and 4 tokens do not fit into a context of 4"):
        translation_example([1, 2, 3], [1, 2, 3, 4], None, 4)


def test_the_worked_example_is_true():
    import doctest

    assert doctest.testmod(sequence_to_sequence, extraglobs={"Tokenizer": Tokenizer}).failed == 0


def test_it_learns_to_turn_texts_round():
    rng, tokenizer = random.Random(0), Tokenizer.characters("abcde")
    texts = ["".join(rng.choices("abcde", k=rng.randint(2, 4))) for _ in range(600)]
    torch.manual_seed(0)
    model = EncoderDecoder(ModelConfig(tokenizer.vocab_size, 8, layers=1, width=32, heads=2))
    examples = [translation_example(tokenizer.encode(t), tokenizer.encode(t[::-1]), tokenizer, 8) for t in texts[:500]]
    batches = Padded(examples, tokenizer.pad_id, 32, seed=0)
    fit(model, teacher_forced, batches, TrainConfig(steps=180, learning_rate=1e-2), progress=False)
    right = [one == text[::-1] for text, one in zip(texts[500:], translate(model, tokenizer, texts[500:]))]
    assert sum(right) >= 85
    assert translate(model, tokenizer, []) == []
    assert to_lantic(make_translations(1, 0)[0]["input"]) == make_translations(1, 0)[0]["output"]
