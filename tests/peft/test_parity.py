"""The same numbers as Hugging Face's peft: logits, losses and the gradients of what learns, for every method it shares.

Small models of transformers, with random weights and no bias at zero, are adapted by peft and, read by
`load_pretrained`, by us. What peft has begun with is put at random, so that nothing can hide, and copied over.
"""

import copy

import pytest
from originals import ROWS, TASK, P, adapted, batch, close, counterpart, peft, positions, run_ours, run_theirs

from minillm.peft import IA3, LlamaAdapter, LoRA, PrefixTuning, PTuning, SoftPrompt, adapters, freeze, inject
from minillm.training import causal_lm, masked_lm


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
