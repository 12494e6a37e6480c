"""How Hugging Face's files write what we have: one row of `FAMILIES` for GPT-2, for BERT and for Llama; `foreign` adds
others.

The names of settings and of tensors differ, and GPT-2's matrices are transposed and hold queries, keys and values in
one; nothing else: Hugging Face turns rotary pairs as `attention.rotate` does. `huggingface` reads and writes by row.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from minillm.hub.settings import Layers
from minillm.models import Decoder, Encoder, ModelConfig, Transformer

Tensors = dict[str, Tensor]


def _fuse(tensors: Tensors, config: ModelConfig) -> Tensors:
    """GPT-2's matrices: (in, out) where a linear layer has (out, in); queries, keys and values side by side."""
    tensors = {name: t.T if ".h." in name and t.dim() == 2 else t for name, t in tensors.items()}
    for name in [name for name in tensors if ".attn.query." in name]:
        parts = [tensors.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        tensors[name.replace("query", "c_attn")] = torch.cat(parts, dim=-1)
    return tensors


def _split(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Undo `_fuse`."""
    tensors = dict(tensors)
    for name in [name for name in tensors if ".attn.c_attn." in name]:
        for part, tensor in zip(("query", "key", "value"), tensors.pop(name).chunk(3, dim=-1)):
            tensors[name.replace("c_attn", part)] = tensor
    return {name: t.T if ".h." in name and t.dim() == 2 else t for name, t in tensors.items()}


class Family(NamedTuple):
    """How one family of models writes what we have: everything is ours -> theirs."""

    kind: type[Transformer]
    recipes: dict[bool, str]  # of models whose tie_word_embeddings is so
    classes: tuple[str, str]  # the names of transformers' own class, and of the one that finds it
    settings: dict[str, str]  # fields of ModelConfig
    dropouts: tuple[str, ...]  # rates that are one here: the first is read, all are written
    defaults: dict  # of settings that a file may leave out or null, in their names
    fixed: dict  # settings that change the maths, with the only value that we have
    trunk: str  # the prefix of what is not the head; a file may leave it out
    layer: str  # the prefix of a layer
    names: dict[str, str]  # modules, those of a layer behind its prefix
    output: str  # the output layer's matrix, which a tied model may store twice
    dropped: str  # tensors that are no part of the function, or of one that we have no use for
    renamed: tuple[tuple[str, str], ...] = ()  # older names -> newer ones
    pack: Callable[[Tensors, ModelConfig], Tensors] = lambda tensors, config: tensors
    unpack: Callable[[Tensors, ModelConfig], Tensors] = lambda tensors, config: tensors
    details: Mapping[str, str] = MappingProxyType({})  # numbers of Details, null being none
    layers: Layers = Layers()
    synonyms: Mapping[str, dict] = MappingProxyType({})  # setting -> what older files say -> what they mean

    @property
    def head(self) -> str:
        """The prefix of the output layer."""
        return self.output.split(".")[0] + "."

    def name(self, ours: str) -> str:
        """Their name of our tensor: "blocks.3.norm_1.weight" is "transformer.h.3.ln_1.weight" to GPT-2."""
        place = re.match(r"(?:blocks\.(\d+)\.)?(.+)\.(\w+)$", ours)
        layer, module, tensor = place.groups()
        if module not in self.names:
            raise ValueError(f"{ours} has no place in a Hugging Face checkpoint: merge adapters before saving")
        return (self.layer.format(layer) if layer else "") + f"{self.names[module]}.{tensor}"


USUAL = {  # fields of ModelConfig, as all but GPT-2 call them
    "vocab_size": "vocab_size",
    "context": "max_position_embeddings",
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "hidden": "intermediate_size",
}
FAMILIES = {
    "gpt2": Family(
        kind=Decoder,
        recipes={True: "gpt2"},
        classes=("GPT2LMHeadModel", "AutoModelForCausalLM"),
        settings={
            "vocab_size": "vocab_size",
            "context": "n_positions",
            "layers": "n_layer",
            "width": "n_embd",
            "heads": "n_head",
            "hidden": "n_inner",
            "norm_eps": "layer_norm_epsilon",
        },
        dropouts=("resid_pdrop", "embd_pdrop", "attn_pdrop"),
        defaults={"n_inner": 0, "layer_norm_epsilon": 1e-5, "resid_pdrop": 0.1, "tie_word_embeddings": True},
        fixed={
            "activation_function": "gelu_new",
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        },
        trunk="transformer.",
        layer="transformer.h.{}.",
        names={
            "embedding": "transformer.wte",
            "position": "transformer.wpe",
            "norm_1": "ln_1",
            "attention.query": "attn.query",
            "attention.key": "attn.key",
            "attention.value": "attn.value",
            "attention.output": "attn.c_proj",
            "norm_2": "ln_2",
            "feed_forward.up": "mlp.c_fc",
            "feed_forward.down": "mlp.c_proj",
            "norm": "transformer.ln_f",
        },
        output="lm_head.weight",
        dropped=r"transformer\.h\.\d+\.attn\.(masked_)?bias",
        pack=_fuse,
        unpack=_split,
    ),
    "bert": Family(
        kind=Encoder,
        recipes={True: "bert"},
        classes=("BertForMaskedLM", "AutoModelForMaskedLM"),
        settings={**USUAL, "norm_eps": "layer_norm_eps", "segments": "type_vocab_size"},
        dropouts=("hidden_dropout_prob", "attention_probs_dropout_prob"),
        defaults={
            "layer_norm_eps": 1e-12,
            "hidden_dropout_prob": 0.1,
            "type_vocab_size": 2,
            "tie_word_embeddings": True,
        },
        fixed={
            "hidden_act": "gelu",
            "position_embedding_type": "absolute",
            "is_decoder": False,
            "add_cross_attention": False,
        },
        trunk="bert.",
        layer="bert.encoder.layer.{}.",
        names={
            "embedding": "bert.embeddings.word_embeddings",
            "position": "bert.embeddings.position_embeddings",
            "segment": "bert.embeddings.token_type_embeddings",
            "first_norm": "bert.embeddings.LayerNorm",
            "attention.query": "attention.self.query",
            "attention.key": "attention.self.key",
            "attention.value": "attention.self.value",
            "attention.output": "attention.output.dense",
            "norm_1": "attention.output.LayerNorm",
            "feed_forward.up": "intermediate.dense",
            "feed_forward.down": "output.dense",
            "norm_2": "output.LayerNorm",
            "head": "cls.predictions",
            "head.transform": "cls.predictions.transform.dense",
            "head.norm": "cls.predictions.transform.LayerNorm",
        },
        output="cls.predictions.decoder.weight",
        dropped=r"bert\.pooler\..*|bert\.embeddings\.position_ids|cls\.seq_relationship\..*",
        renamed=(
            (r"\.gamma$", ".weight"),
            (r"\.beta$", ".bias"),
            (r"^cls\.predictions\.decoder\.bias$", "cls.predictions.bias"),
        ),
    ),
    "llama": Family(
        kind=Decoder,
        recipes={False: "llama", True: "llama-tied"},
        classes=("LlamaForCausalLM", "AutoModelForCausalLM"),
        settings={**USUAL, "kv_heads": "num_key_value_heads", "norm_eps": "rms_norm_eps", "rope_theta": "rope_theta"},
        dropouts=("attention_dropout",),
        defaults={
            "num_key_value_heads": 0,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10_000.0,
            "attention_dropout": 0.0,
            "tie_word_embeddings": False,
        },
        details={"head_dim": "head_dim"},
        fixed={"hidden_act": "silu", "attention_bias": False, "mlp_bias": False},
        trunk="model.",
        layer="model.layers.{}.",
        names={
            "embedding": "model.embed_tokens",
            "norm_1": "input_layernorm",
            "attention.query": "self_attn.q_proj",
            "attention.key": "self_attn.k_proj",
            "attention.value": "self_attn.v_proj",
            "attention.output": "self_attn.o_proj",
            "norm_2": "post_attention_layernorm",
            "feed_forward.gate": "mlp.gate_proj",
            "feed_forward.up": "mlp.up_proj",
            "feed_forward.down": "mlp.down_proj",
            "norm": "model.norm",
            "head": "lm_head",
        },
        output="lm_head.weight",
        dropped=r"model\..*rotary_emb\.inv_freq",
    ),
}
