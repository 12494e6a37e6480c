"""Small models of transformers in peft's hands, beside ours with the same weights: what a text gives in both."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minillm.hub.families import FAMILIES
from minillm.peft import freeze
from minillm.training import causal_lm

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

V, T, P = 40, 12, 5
SIZE = {"vocab_size": V, "max_position_embeddings": 32, "hidden_size": 32, "num_hidden_layers": 2}
SIZE |= {"num_attention_heads": 4, "intermediate_size": 56}
CLASSES = {
    "gpt2": ("GPT2LMHeadModel", {"vocab_size": V, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 4}),
    "llama": ("LlamaForCausalLM", SIZE | {"num_key_value_heads": 2}),
    "bert": ("BertForMaskedLM", SIZE),
}
TASK = {"task_type": "CAUSAL_LM"}


def randomise(parameters, std=0.3, seed=1):
    """Nothing is zero, and no norm's weight is one."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        nn.init.normal_(parameter, std=std, generator=generator)
        parameter.data += float(parameter.dim() == 1) / 2


def batch(side="right"):
    """Texts of 12, 3 and 8 tokens, with junk in the padding; labels for what stands behind another real token."""
    ids = torch.randint(V, (3, T), generator=torch.Generator().manual_seed(0))
    real = torch.arange(T) < torch.tensor([[12], [3], [8]])
    real = real if side == "right" else real.flip(1)
    labels = ids.masked_fill(~(real & F.pad(real, (1, -1))), -100)
    return {"input_ids": ids, "attention_mask": real.long(), "labels": labels}


def adapted(model, config, std=0.3):
    """A model in peft's hands, with nothing of the adapter where it began."""
    model = peft.get_peft_model(model, config).eval()
    randomise([p for p in model.parameters() if p.requires_grad], std, seed=2)
    return model


def run_theirs(model, batch, **more):
    """Logits where the text is real, and the loss, whose gradients are taken."""
    out = model(**batch, **more)
    out.loss.backward()
    return out.logits[:, out.logits.size(1) - T :][batch["attention_mask"].bool()].detach(), out.loss.detach()


def run_ours(model, batch, objective=causal_lm):
    freeze(model)
    total, count = objective(model, batch)
    (total / count).backward()
    with torch.no_grad():
        logits = model(batch["input_ids"], batch["attention_mask"])[batch["attention_mask"].bool()]
    return logits, (total / count).detach()


def close(came, expected):
    torch.testing.assert_close(came, expected, atol=1e-5, rtol=1e-5)


def positions(mask):
    return (mask.cumsum(1) - 1).clamp(min=0)


ROWS = {"query": slice(0, 32), "key": slice(32, 64), "value": slice(64, 96)}


def counterpart(theirs, path, family):
    """Their wrapper for our layer, and the rows of its output that are ours: GPT-2 has q, k and v in one."""
    name = FAMILIES[family].name(f"{path}.weight").removesuffix(".weight")
    part = path.rpartition(".")[2]
    if family == "gpt2" and part in ROWS:
        return theirs.get_submodule("base_model.model." + name.replace(part, "c_attn")), ROWS[part]
    return theirs.get_submodule("base_model.model." + name), slice(None)
