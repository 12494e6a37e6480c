"""Where the memory of a step will go: beside what a step really keeps, and said in a line with what to do."""

import json

import pytest
import torch

from minillm.cli import main, memory
from minillm.cli.memory import estimate
from minillm.models import Decoder, ModelConfig
from minillm.peft import LoRA, freeze, inject
from minillm.system import Compute
from minillm.training import causal_lm, recompute


def adapted(recipe):
    model = Decoder(ModelConfig(vocab_size=64, context=128, layers=4, width=64, heads=4, recipe=recipe))
    model = inject(model, LoRA(rank=2))
    freeze(model)
    return model


def held(model):
    """Bytes that a forward pass leaves for the backward pass, without the weights."""
    ids = torch.randint(64, (4, 65), generator=torch.Generator().manual_seed(0))
    weights, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        causal_lm(model, {"input_ids": ids, "labels": ids})
    return sum(size for place, (size, _) in kept.items() if place not in weights)


@pytest.mark.parametrize("recipe", ["llama", "gpt2"])
def test_the_activations_are_estimated_within_a_factor_of_two(recipe):
    model = adapted(recipe)
    whole, found = held(model), estimate(model, "adamw", 4, 64, 4, 0)
    assert 0.5 < found.activations / whole < 2
    learns = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert found.gradients == 4 * learns and found.optimizer == 8 * learns
    recompute(model)
    again = held(model) + whole / 4  # of one layer at a time
    found = estimate(model, "adamw", 4, 64, 4, 0)
    assert 0.5 < (found.activations + found.layer) / again < 2


def test_a_step_that_needs_more_than_is_free_is_said_with_what_to_do(tmp_path, monkeypatch, capsys):
    text, rows = tmp_path / "text.txt", tmp_path / "c.jsonl"
    text.write_text("\n\n".join(f"is {i} odd: yes or no" for i in range(100)))
    rows.write_text("".join(json.dumps({"prompt": f"is {i} odd", "completion": "yes"}) + "\n" for i in range(20)))
    small = "--max-steps 2 --dtype fp32 --device cpu".split()
    size = "--depth 2 --width 16 --heads 2 --vocab-size 280 --context 64".split()
    assert main(["pretrain", "--data", str(text), *size, *small, "--out", str(tmp_path / "base")]) == 0
    tune = ["sft", "--data", str(rows), "--from", str(tmp_path / "base"), *small]
    assert main([*tune, "--out", str(tmp_path / "a")]) == 0
    assert "memory of a step" not in capsys.readouterr().out  # small
    monkeypatch.setattr(memory, "LARGE", 0)
    assert main([*tune, "--out", str(tmp_path / "b")]) == 0
    assert "memory of a step, about 0 MB: weights 0" in (said := capsys.readouterr().out) and "--recompute" not in said
    monkeypatch.setattr(Compute, "free_memory", lambda self: 1.0)
    assert main([*tune, "--out", str(tmp_path / "c")]) == 0
    assert "try --recompute or a smaller --batch-size or --method lora" in capsys.readouterr().out
    assert main([*tune, "--recompute", "--method", "lora", "--out", str(tmp_path / "d")]) == 0
    assert "that there are: try a smaller --batch-size\n" in capsys.readouterr().out
