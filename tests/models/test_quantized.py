"""Few bits against the gguf package's blocks and a slow rounding; sizes counted; a LoRA learns on them."""

import copy
import doctest

import numpy as np
import pytest
import torch
from torch import nn

from minillm.inference import generate
from minillm.models import (
    BITS,
    Decoder,
    ModelConfig,
    QuantizedLinear,
    bytes_of,
    quantize,
    quantize_blocks,
    quantized,
    rounding_error,
)  # fmt: skip
from minillm.models.quantized import pack_bits, unpack_bits
from minillm.peft import LoRA, freeze, inject, remove
from minillm.training import TrainConfig, causal_lm, fit

gguf = pytest.importorskip("gguf")
THEIRS = {8: gguf.GGMLQuantizationType.Q8_0, 5: gguf.GGMLQuantizationType.Q5_0, 4: gguf.GGMLQuantizationType.Q4_0}


def numbers(rows=40, columns=64, seed=0):
    values = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    values[0] = 0
    values[1, :32] = torch.linspace(-1, 1, 32)
    values[2] *= 1e-3
    return values


def small(width=32, **changes):
    torch.manual_seed(0)
    settings = {"vocab_size": 40, "context": 32, "layers": 2, "width": width, "heads": 2, "recipe": "llama"}
    return Decoder(ModelConfig(**settings | changes)).eval()


@pytest.mark.parametrize("bits", THEIRS)
def test_rounding_is_that_of_gguf_bit_for_bit(bits):
    scale, q = quantize_blocks(numbers(), bits)
    blocks = gguf.quants.quantize(numbers().numpy(), THEIRS[bits])
    expected = torch.from_numpy(gguf.quants.dequantize(blocks, THEIRS[bits]))
    assert torch.equal((scale.float() * q).view_as(expected), expected)
    assert blocks.nbytes == q.numel() // 32 * (2 + 4 * bits)


@pytest.mark.parametrize("bits", BITS)
def test_a_value_is_off_by_half_a_step_at_most_but_for_the_one_that_is_lost(bits):
    values = numbers()
    scale, q = quantize_blocks(values, bits)
    assert q.min().item() >= -(2 ** (bits - 1)) and q.max().item() < 2 ** (bits - 1) and len(q.unique()) <= 2**bits
    wrong = (scale.float() * q - values.view(-1, 32)).abs()
    step = scale.float().abs() * (1 + 1e-3) + 1e-7  # the scale is rounded to 16 bits
    most = (0.5 if bits == 8 else 1.0) * step + 2.0 ** (bits - 1) * step * 5e-4
    assert bool((wrong <= most).all()) and float((wrong <= 0.51 * step + 2.0**bits * step * 5e-4).float().mean()) > 0.9
    assert torch.equal(unpack_bits(pack_bits(q, bits), bits), q) and pack_bits(q, bits).shape == (len(q), 4 * bits)


@pytest.mark.parametrize("bits", [8, 4, 3])
@torch.no_grad()
def test_a_layer_in_few_bits_is_a_linear_layer_with_the_rounded_matrix(bits):
    linear, x = nn.Linear(64, 40), torch.randn(3, 64)
    before = linear.weight.clone()
    few = QuantizedLinear(linear, bits)
    scale, q = quantize_blocks(before, bits)
    torch.testing.assert_close(few(x), x @ (scale.float() * q).view(40, 64).T + linear.bias)
    assert torch.equal(linear.weight, before)
    assert bytes_of(few) == 40 * 2 * (2 + 4 * bits) + 4 * 40
    again = QuantizedLinear(nn.Linear(64, 40), bits)
    again.load_state_dict(few.state_dict())
    assert torch.equal(again(x), few(x))


@torch.no_grad()
def test_a_model_in_few_bits_is_the_model_with_rounded_matrices_and_generates():
    model, ids = small(), torch.randint(0, 40, (2, 6))
    whole, plain = bytes_of(model), copy.deepcopy(model)
    errors = []
    for bits in BITS:
        few = quantize(copy.deepcopy(model), bits)
        rounded = copy.deepcopy(model)
        for module in rounded.modules():
            if isinstance(module, nn.Linear) and module.in_features % 32 == 0:  # of 85 inner channels it is not
                scale, q = quantize_blocks(module.weight, bits)
                module.weight.copy_((scale.float() * q).view_as(module.weight))
        torch.testing.assert_close(few(ids), rounded(ids))
        assert torch.equal(generate(few, ids, 5, temperature=0), generate(rounded, ids, 5, temperature=0))
        errors.append(rounding_error(model, bits))
        assert bytes_of(few) < whole and not any(p.requires_grad for p in few.parameters())
    assert errors == sorted(errors, reverse=True) and errors[0] > 0.3 and errors[-1] < 0.01
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters()))


def test_a_lora_learns_on_few_bits_which_stay():
    model, rows = quantize(small(), 4), torch.arange(40).view(4, 10)
    packed, before = model.blocks[0].attention.query.packed.clone(), model(rows)
    model = inject(model, LoRA(rank=4))
    freeze(model)
    batch = {"input_ids": rows, "labels": rows}
    history = fit(
        model, causal_lm, [batch], TrainConfig(steps=40, optimizer="adamw", learning_rate=5e-2), progress=False
    )
    assert history.records[-1]["loss"] < history.records[0]["loss"] - 0.2
    assert torch.equal(remove(model).blocks[0].attention.query.packed, packed)
    assert torch.equal(model(rows), before)


def test_what_cannot_be_is_refused_and_tied_tables_stay():
    with pytest.raises(ValueError, match="bits is 9: weights can have 2 to 8"):
        quantize_blocks(numbers(), 9)
    with pytest.raises(ValueError, match="rows of 31 are no whole blocks of 32"):
        quantize_blocks(torch.zeros(2, 31), 4)
    with pytest.raises(ValueError, match="this Linear has no linear layer"):
        quantize(nn.Linear(32, 32), 4)
    tied = quantize(small(recipe="llama-tied"), 8)
    assert type(tied.head).__name__ == "LMHead" and isinstance(tied.blocks[0].attention.key, QuantizedLinear)
    assert np.isfinite(rounding_error(tied, 4)) and rounding_error(nn.ReLU(), 4) == 0
    assert doctest.testmod(quantized, extraglobs={"torch": torch}).failed == 0
