"""The same numbers as Hugging Face's peft: logits, losses and the gradients of what learns, for every method it shares.

Small models of transformers, with random weights and no bias at zero, are adapted by peft and, read by
`load_pretrained`, by us. What peft has begun with is put at random, so that nothing can hide, and copied over.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minillm.families import FAMILIES
from minillm.objectives import causal_lm, masked_lm
from minillm.peft import (
    IA3,
    AdaLoRA,
    Budget,
    LlamaAdapter,
    LoRA,
    PrefixTuning,
    PTuning,
    SoftPrompt,
    adapters,
    freeze,
    inject,
    orthogonality,
)
from minillm.pretrained import load_pretrained

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


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """family -> a model of transformers, and ours with its weights; both new at every call."""
    made = {}

    def build(family):
        if family not in made:
            name, size = CLASSES[family]
            cls, folder = getattr(transformers, name), tmp_path_factory.mktemp(family)
            theirs = cls(cls.config_class(**size, bos_token_id=None, eos_token_id=None, pad_token_id=None)).eval()
            randomise(theirs.parameters())
            theirs.save_pretrained(folder)
            made[family] = theirs, load_pretrained(folder)[0]
        return copy.deepcopy(made[family])

    return build


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


# LoRA and IA3: the names of the modules, and which rows of theirs are ours, by the path of ours

ROWS = {"query": slice(0, 32), "key": slice(32, 64), "value": slice(64, 96)}


def counterpart(theirs, path, family):
    """Their wrapper for our layer, and the rows of its output that are ours: GPT-2 has q, k and v in one."""
    name = FAMILIES[family].name(f"{path}.weight").removesuffix(".weight")
    part = path.rpartition(".")[2]
    if family == "gpt2" and part in ROWS:
        return theirs.get_submodule("base_model.model." + name.replace(part, "c_attn")), ROWS[part]
    return theirs.get_submodule("base_model.model." + name), slice(None)


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("stabilised", [False, True])
def test_lora_is_theirs_with_a_scale_of_its_own_and_fused_matrices(family, side, stabilised, pair):
    theirs, ours = pair(family)
    names = {"gpt2": ["c_attn", "c_proj", "c_fc"], "llama": "all-linear", "bert": ["query", "key", "value", "dense"]}
    config = peft.LoraConfig(
        r=3, lora_alpha=7, use_rslora=stabilised, target_modules=names[family], fan_in_fan_out=family == "gpt2"
    )
    if family == "bert":
        config.exclude_modules = r".*transform\.dense"  # of the output layer
    theirs = adapted(theirs, config)
    inject(ours, LoRA(rank=3, alpha=7, rank_stabilised=stabilised))
    found = [(adapter, *counterpart(theirs, path, family)) for path, adapter in adapters(ours)]
    for adapter, their, rows in found:
        adapter.A.data.copy_(their.lora_A.default.weight)
        adapter.B.data.copy_(their.lora_B.default.weight[rows])
    texts = batch(side)
    came = run_ours(ours, texts, masked_lm if family == "bert" else causal_lm)
    close(came, run_theirs(theirs, texts, position_ids=positions(texts["attention_mask"])))
    shared = {}  # one A of theirs is the A of our three: its gradient is their sum
    for adapter, their, rows in found:
        close(adapter.B.grad, their.lora_B.default.weight.grad[rows])
        shared[their] = shared.get(their, 0) + adapter.A.grad
    for their, gradient in shared.items():
        close(gradient, their.lora_A.default.weight.grad)
    assert len(shared) == sum(1 for name, _ in theirs.named_modules() if name.endswith("lora_A"))


def test_a_model_that_is_not_ours_is_adapted_as_by_peft(pair):
    theirs, _ = pair("llama")
    ours = copy.deepcopy(theirs)
    theirs = adapted(theirs, peft.LoraConfig(r=3, lora_alpha=7, target_modules=["q_proj", "v_proj"]))
    inject(ours, LoRA(rank=3, alpha=7, targets=("q_proj", "v_proj")))
    freeze(ours)
    found = [(adapter, theirs.get_submodule(f"base_model.model.{path}")) for path, adapter in adapters(ours)]
    for adapter, their in found:
        adapter.A.data.copy_(their.lora_A.default.weight)
        adapter.B.data.copy_(their.lora_B.default.weight)
    texts = batch("left")
    close(run_theirs(ours, texts), run_theirs(theirs, texts))
    assert len(found) == 4
    for adapter, their in found:
        close(adapter.A.grad, their.lora_A.default.weight.grad)
        close(adapter.B.grad, their.lora_B.default.weight.grad)


@pytest.mark.parametrize("side", ["left", "right"])
def test_ia3_scales_keys_values_and_inner_activations_and_their_biases(side, pair):
    theirs, ours = pair("gpt2")
    names = ["c_attn", "mlp.c_proj"]
    config = peft.IA3Config(target_modules=names, feedforward_modules=names[1:], fan_in_fan_out=True)
    theirs = adapted(theirs, config)
    inject(ours, IA3())
    for path, adapter in adapters(ours):
        their, rows = counterpart(theirs, path, "gpt2")
        if "key" in path:
            their.ia3_l.default.data[ROWS["query"]] = 1.0  # queries are left as they are
        adapter.scale.data.copy_(their.ia3_l.default.flatten()[rows])
    texts = batch(side)
    close(run_ours(ours, texts), run_theirs(theirs, texts, position_ids=positions(texts["attention_mask"])))
    for path, adapter in adapters(ours):
        their, rows = counterpart(theirs, path, "gpt2")
        close(adapter.scale.grad, their.ia3_l.default.grad.flatten()[rows])
    assert len(adapters(ours)) == 6


# What stands before a text. peft puts it before the padding too, from which GPT-2 counts on: padding is on the right.


def test_a_soft_prompt_has_their_logits_loss_and_gradients(pair):
    theirs, ours = pair("gpt2")
    theirs = adapted(theirs, peft.PromptTuningConfig(num_virtual_tokens=P, **TASK))
    ours = inject(ours, SoftPrompt(length=P))
    table = theirs.prompt_encoder.default.embedding.weight
    ours.table.data.copy_(table)
    close(run_ours(ours, batch()), run_theirs(theirs, batch()))
    close(ours.table.grad, table.grad)


@pytest.mark.parametrize("network", ["mlp", "lstm"])
@pytest.mark.parametrize("inner", [32, 20])
def test_p_tuning_learns_through_their_networks(network, inner, pair):
    theirs, ours = pair("gpt2")
    config = peft.PromptEncoderConfig(
        num_virtual_tokens=P,
        encoder_hidden_size=inner,
        encoder_reparameterization_type=network.upper(),
        encoder_num_layers=2,
        encoder_dropout=0.0,
        **TASK,
    )
    theirs = adapted(theirs, config)
    ours = inject(ours, PTuning(length=P, network=network, inner=inner if inner != 32 else 0))
    encoder = theirs.prompt_encoder.default
    heads = [encoder.mlp_head] if network == "mlp" else [encoder.lstm_head, encoder.mlp_head]
    found = [(ours.table, encoder.embedding.weight)]
    found += zip(ours.encoder.parameters(), [p for head in heads for p in head.parameters()], strict=True)
    for mine, their in found:
        mine.data.copy_(their)
    close(run_ours(ours, batch()), run_theirs(theirs, batch()))
    for mine, their in found:
        close(mine.grad, their.grad)


def layers_of(table):
    """Their prefix (P, layers 2 H D), or its gradient, as ours: for each layer (2, H, P, D)."""
    return table.view(P, 2, 2, 4, 8).permute(1, 2, 3, 0, 4)


@pytest.mark.parametrize("inner", [0, 24])
def test_a_prefix_has_their_logits_loss_and_gradients(inner, pair):
    """To peft the prefix is P positions of GPT-2's table, as if text had been read: the text begins at position P. To
    us it stands nowhere, and a text begins at 0 as ever. With the table moved by P rows, both are the same.
    """
    theirs, ours = pair("gpt2")
    more = {"prefix_projection": True, "encoder_hidden_size": inner} if inner else {}
    theirs = adapted(theirs, peft.PrefixTuningConfig(num_virtual_tokens=P, **more, **TASK))
    ours.position.weight.data = ours.position.weight.data.roll(-P, 0)
    inject(ours, PrefixTuning(length=P, inner=inner))
    encoder = theirs.prompt_encoder.default
    if inner:
        network = adapters(ours)[0][1].source.network
        assert all(adapter.source.network is network for _, adapter in adapters(ours))
        mine = [network.table, *network.up.parameters(), *network.down.parameters()]
        for one, their in zip(mine, encoder.parameters(), strict=True):
            one.data.copy_(their)
    else:
        mine = [adapter.source.vectors for _, adapter in adapters(ours)]
        for one, their in zip(mine, layers_of(encoder.embedding.weight), strict=True):
            one.data.copy_(their)
    close(run_ours(ours, batch()), run_theirs(theirs, batch()))
    expected = [p.grad for p in encoder.parameters()] if inner else layers_of(encoder.embedding.weight.grad)
    for one, gradient in zip(mine, expected, strict=True):
        close(one.grad, gradient)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("side", ["left", "right"])
def test_llama_adapter_is_theirs_with_an_open_gate_and_shared_keys(layers, side, pair):
    """On Llama: for GPT-2, peft leaves out the layer's output matrix, which is not as the paper has it."""
    theirs, ours = pair("llama")
    theirs = adapted(theirs, peft.AdaptionPromptConfig(adapter_len=P, adapter_layers=layers, **TASK), std=0.7)
    inject(ours, LlamaAdapter(length=P, layers=layers))
    wrapped = [module for module in theirs.modules() if hasattr(module, "adaption_gate")]
    mine = [adapter for _, adapter in adapters(ours)]
    assert len(mine) == len(wrapped) == layers
    for one, their in zip(mine, wrapped):
        one.prompt.data.copy_(their.adaption_prompt[0])
        one.gate.data.copy_(their.adaption_gate)
        assert float(one.gate.detach().abs()) > 0.1
    texts = batch(side)
    close(run_ours(ours, texts), run_theirs(theirs, texts, position_ids=positions(texts["attention_mask"])))
    for one, their in zip(mine, wrapped):
        close(one.prompt.grad, their.adaption_prompt.grad[0])
        close(one.gate.grad, their.adaption_gate.grad)


# AdaLoRA


def adalora_pair(pair, **schedule):
    theirs, ours = pair("llama")
    config = peft.AdaLoraConfig(
        init_r=4, target_r=2, lora_alpha=7, target_modules=["q_proj", "up_proj"], **schedule, **TASK
    )
    theirs = adapted(theirs, config)
    method = AdaLoRA(rank=4, target_rank=2, alpha=7, targets=("query", "up"), rest=0.2, settle=0.2, every=2)
    inject(ours, method)
    found = [(adapter, counterpart(theirs, path, "llama")[0]) for path, adapter in adapters(ours)]
    for adapter, their in found:
        for mine, name in ((adapter.P, "lora_B"), (adapter.E, "lora_E"), (adapter.Q, "lora_A")):
            mine.data.copy_(getattr(their, name).default.view_as(mine))
    return theirs, ours, found


def test_adalora_has_their_logits_gradients_and_pull_towards_orthogonality(pair):
    theirs, ours, found = adalora_pair(pair, total_step=20, tinit=4, tfinal=4, orth_reg_weight=0.3)
    texts = batch("left")
    expected, loss = run_theirs(theirs, texts, position_ids=positions(texts["attention_mask"]))
    freeze(ours)
    total, count = causal_lm(ours, texts)
    (total / count + orthogonality(ours, 0.3)).backward()
    close(ours(texts["input_ids"], texts["attention_mask"])[texts["attention_mask"].bool()], expected)
    close(total / count + orthogonality(ours, 0.3), loss)
    assert float(orthogonality(ours, 0.3).detach()) > 0.1
    for adapter, their in found:
        close(adapter.P.grad, their.lora_B.default.grad)
        close(adapter.E.grad, their.lora_E.default.grad.flatten())
        close(adapter.Q.grad, their.lora_A.default.grad)


def test_adalora_gives_up_their_ranks_in_their_order(pair):
    """20 steps of which 4 rest and 4 settle. Before its last choice peft leaves out the last gradients, which the
    paper's algorithm 1 takes: they are given to it.
    """
    theirs, ours, found = adalora_pair(pair, total_step=20, tinit=4, tfinal=4, deltaT=2, orth_reg_weight=0.0)
    allocator, budget, texts, totals = theirs.base_model.rankallocator, Budget(ours, 20), batch("left"), {}
    freeze(ours)
    where = positions(texts["attention_mask"])
    optimizers = [
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01) for model in (theirs, ours)
    ]
    for step in range(1, 21):
        run_theirs(theirs, texts, position_ids=where)
        run_ours(ours, texts)
        for optimizer in optimizers:
            optimizer.step()
        if step == 16:
            allocator.update_ipt(theirs.base_model.model)
        theirs.base_model.update_and_allocate(step)
        budget(ours, step)
        for optimizer in optimizers:
            optimizer.zero_grad()
        for adapter, their in found:
            close(adapter.E, their.lora_E.default.flatten())
            assert torch.equal(adapter.E == 0, their.lora_E.default.flatten() == 0), step
        if step < 16:
            compare_scores(found, allocator, theirs)
        totals[step] = sum(adapter.rank for adapter, _ in found)
    chosen = {step: budget.ranks(step, 4) for step in (*range(6, 17, 2), *range(17, 21))}
    assert totals == {step: chosen.get(step, 16) for step in range(1, 21)}  # between two choices a rank may come back
    assert sorted(set(chosen.values())) == [8, 9, 10, 12]  # 4 matrices of rank 4, in the end of 2 on average


def compare_scores(found, allocator, theirs):
    names = {id(p): name for name, p in theirs.base_model.model.named_parameters()}
    for adapter, their in found:
        for key, theirs_name in (("P", "lora_B"), ("E", "lora_E"), ("Q", "lora_A")):
            name = names[id(getattr(their, theirs_name).default)]
            mine = getattr(adapter, f"importance_{key}")
            close(mine, allocator.exp_avg_ipt[name].view_as(mine))
            close(getattr(adapter, f"uncertainty_{key}"), allocator.exp_avg_unc[name].view_as(mine))
