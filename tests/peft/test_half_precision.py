"""Adapters in fp32 on frozen weights in half precision: what is in memory, and that the numbers are right."""

import copy

import pytest
import torch
from bare import IDS, bare_model, stir
from torch import nn

from minillm.peft import METHODS, AdaLoRA, LoRA, freeze, inject, merge, remove
from minillm.training import causal_lm

HALVES = [torch.bfloat16, torch.float16]


def adapted(method, half, exact=False):
    """A model with an adapter that has learned something; `exact`: the same numbers in fp32."""
    base = bare_model("llama").to(half)
    model = inject(base.float() if exact else base, method, generator=torch.Generator().manual_seed(0))
    freeze(model)
    stir([p for p in model.parameters() if p.requires_grad])
    return model


def step(model):
    """The loss and the gradients of what learns, in fp32."""
    total, _ = causal_lm(model, {"input_ids": IDS, "labels": IDS})
    total.backward()
    return total.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("key", sorted(METHODS.keys() - {"prefix", "prompt", "ptuning"}))  # begin as the base says
def test_loss_and_gradients_are_those_of_fp32_but_for_the_rounding_of_products(key, half, autocast):
    method = AdaLoRA(rank=4, target_rank=2) if key == "adalora" else METHODS[key]()
    with torch.autocast("cpu", half, enabled=autocast):
        loss, gradients = step(adapted(method, half))
    expected, exact = step(adapted(method, half, exact=True))
    assert abs(loss / expected - 1) < 0.02 and gradients.keys() == exact.keys()
    assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}
    found, wanted = (torch.cat([g.flatten() for g in each.values()]) for each in (gradients, exact))
    assert (found - wanted).norm() < (0.05 if half == torch.float16 else 0.4) * wanted.norm()  # 10 bits, and 7


@pytest.mark.parametrize("half", HALVES)
def test_the_frozen_weights_have_no_copy_and_the_optimizer_s_state_is_fp32(half):
    model = adapted(LoRA(rank=2), half)
    learns = [p for p in model.parameters() if p.requires_grad]
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {half}
    optimizer, kept = torch.optim.AdamW(learns, lr=1e-3, fused=True), []
    weights = {p.untyped_storage().data_ptr() for p in model.parameters() if not p.requires_grad}
    keeping = torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t)
    with torch.autocast("cpu", half), keeping:
        causal_lm(model, {"input_ids": IDS[:, :8], "labels": IDS[:, :8]})[0].backward()
    shapes = {p.shape for p in model.parameters() if not p.requires_grad and p.dim() == 2}
    copies = [t for t in kept if t.dim() == 2 and {t.shape, t.mT.shape} & shapes]
    assert copies and all(t.untyped_storage().data_ptr() in weights for t in copies)
    before = [p.detach().clone() for p in learns]
    optimizer.step()
    assert {t.dtype for state in optimizer.state.values() for t in state.values()} == {torch.float32}
    assert all(p.dtype == torch.float32 and not torch.equal(p, old) for p, old in zip(learns, before))


def test_steps_too_small_for_bf16_add_up():
    linear = nn.Linear(8, 8, bias=False).bfloat16()
    model = inject(nn.Sequential(linear), LoRA(rank=2))
    adapter = model[0]
    with torch.no_grad():
        adapter.A.fill_(1.0)
        for _ in range(100):
            adapter.A.add_(1e-3)  # 1 + 1e-3 is 1 in bf16
    assert torch.allclose(adapter.A, torch.full_like(adapter.A, 1.1))


def test_it_is_what_peft_computes():
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(16, 24)).bfloat16()
    theirs = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(r=4, lora_alpha=8, target_modules=["0"]))
    layer = theirs.base_model.model[0]
    assert layer.lora_A["default"].weight.dtype == torch.float32
    nn.init.normal_(layer.lora_B["default"].weight, std=0.1)
    ours = inject(copy.deepcopy(base), LoRA(rank=4, alpha=8.0, targets=("0",)))
    with torch.no_grad():
        ours[0].A.copy_(layer.lora_A["default"].weight)
        ours[0].B.copy_(layer.lora_B["default"].weight)
    x = torch.randn(5, 16).bfloat16()
    assert torch.allclose(ours(x).float(), theirs(x).float(), atol=0.03)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(ours(x).float(), theirs(x).float(), atol=0.03)


def test_merging_rounds_once():
    base = bare_model("llama").bfloat16()
    model = inject(copy.deepcopy(base), LoRA(rank=2))
    stir([p for name, p in model.named_parameters() if name.endswith((".A", ".B"))])
    adapter = model.blocks[0].attention.query
    expected = (base.blocks[0].attention.query.weight.float() + adapter.change()).bfloat16()
    assert torch.equal(remove(merge(model)).blocks[0].attention.query.weight, expected)
