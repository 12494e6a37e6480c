"""How Hugging Face's files write the families of `models/foreign.py`: further rows of `FAMILIES`, Llama's with changes.

Each default is what transformers takes where a file leaves the setting out.
"""

import torch

from minillm.hub.families import FAMILIES, USUAL, Family, Tensors
from minillm.hub.settings import AllWindowed, SomeUnturned, SomeWindowed
from minillm.models import Decoder, ModelConfig

_PARTS = ("query", "key", "value")


def _fuse_heads(tensors: Tensors, config: ModelConfig) -> Tensors:
    """GPT-NeoX's matrices: of each head in turn its query, key and value."""
    for name in [name for name in tensors if ".attention.query." in name]:
        parts = [tensors.pop(name.replace("query", part)).unflatten(0, (config.heads, -1)) for part in _PARTS]
        tensors[name.replace("query", "query_key_value")] = torch.stack(parts, dim=1).flatten(0, 2)
    return tensors


def _split_heads(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Undo `_fuse_heads`."""
    tensors = dict(tensors)
    for name in [name for name in tensors if ".attention.query_key_value." in name]:
        parts = tensors.pop(name).unflatten(0, (config.heads, 3, -1)).unbind(1)
        for part, tensor in zip(_PARTS, parts):
            tensors[name.replace("query_key_value", part)] = tensor.flatten(0, 1)
    return tensors


_LLAMA = FAMILIES["llama"]
_NORMED = {"attention.query_norm": "self_attn.q_norm", "attention.key_norm": "self_attn.k_norm"}
_SANDWICH = {
    "after_1": "post_attention_layernorm",
    "norm_2": "pre_feedforward_layernorm",
    "after_2": "post_feedforward_layernorm",
}


def _like_llama(name: str, cls: str, recipes: dict[bool, str] | None = None, **changes) -> Family:
    """Llama's row with these changes; what is a dictionary is added to Llama's."""
    changes = {key: getattr(_LLAMA, key) | new if key in ("names", "defaults") else new for key, new in changes.items()}
    recipes = recipes or {False: name, True: name}
    return _LLAMA._replace(recipes=recipes, classes=(f"{cls}ForCausalLM", "AutoModelForCausalLM"), **changes)


_QWEN_LAYERS = SomeWindowed(lambda theirs, layer: layer >= theirs.get("max_window_layers", 28), "use_sliding_window")
_ACTIVATION = "gelu_pytorch_tanh"
_GEMMA_DEFAULTS = {"head_dim": 256, "tie_word_embeddings": True}
_GEMMA_FIXED = {"attention_bias": False, "use_bidirectional_attention": False, "hidden_activation": _ACTIVATION}
_CAPS = {
    "head_dim": "head_dim",
    "query_scale": "query_pre_attn_scalar",
    "score_cap": "attn_logit_softcapping",
    "logit_cap": "final_logit_softcapping",
}
FOREIGN_FAMILIES = {
    "mistral": _like_llama(
        "mistral", "Mistral", layers=AllWindowed(), fixed={"hidden_act": "silu"}, defaults={"num_key_value_heads": 8}
    ),
    "qwen2": _like_llama("qwen2", "Qwen2", layers=_QWEN_LAYERS, fixed={"hidden_act": "silu"}, details={}),
    "qwen3": _like_llama(
        "qwen3",
        "Qwen3",
        layers=_QWEN_LAYERS,
        fixed={"hidden_act": "silu", "attention_bias": False},
        defaults={"head_dim": 128},
        names=_NORMED,
    ),
    "smollm3": _like_llama(
        "smollm3",
        "SmolLM3",
        layers=SomeUnturned(),
        fixed=_LLAMA.fixed | {"use_sliding_window": False},
        defaults={"num_key_value_heads": 4, "rope_theta": 2e6, "tie_word_embeddings": True},
        details={},
    ),
    "olmo2": _like_llama(
        "olmo2",
        "Olmo2",
        fixed={"hidden_act": "silu", "attention_bias": False},
        defaults={"rms_norm_eps": 1e-5},
        details={},
        names={"norm_1": "post_attention_layernorm", "norm_2": "post_feedforward_layernorm", **_NORMED},
    ),
    "gemma": _like_llama(
        "gemma",
        "Gemma",
        {True: "gemma"},
        fixed=_GEMMA_FIXED | {"hidden_act": _ACTIVATION},
        defaults=_GEMMA_DEFAULTS | {"num_key_value_heads": 16},
        synonyms={"hidden_act": {"gelu": _ACTIVATION}},  # of the first files, which were tuned with the other
    ),
    "gemma2": _like_llama(
        "gemma2",
        "Gemma2",
        {True: "gemma2"},
        layers=SomeWindowed(lambda theirs, layer: layer % 2 == 0),
        fixed=_GEMMA_FIXED,
        defaults=_GEMMA_DEFAULTS
        | {
            "num_key_value_heads": 4,
            "query_pre_attn_scalar": 256,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
        details=_CAPS,
        names=_SANDWICH,
    ),
    "gemma3_text": _like_llama(
        "gemma3",
        "Gemma3",
        {True: "gemma3"},
        layers=SomeWindowed(lambda theirs, layer: (layer + 1) % theirs.get("sliding_window_pattern", 6) != 0),
        fixed=_GEMMA_FIXED,
        defaults=_GEMMA_DEFAULTS
        | {
            "num_key_value_heads": 4,
            "query_pre_attn_scalar": 256,
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
        },
        details=_CAPS | {"local_theta": "rope_local_base_freq"},
        names=_SANDWICH | _NORMED,
    ),
    "gpt_neox": Family(
        kind=Decoder,
        recipes={False: "gpt_neox", True: "gpt_neox"},
        classes=("GPTNeoXForCausalLM", "AutoModelForCausalLM"),
        settings={**USUAL, "norm_eps": "layer_norm_eps", "rope_theta": "rotary_emb_base"},
        dropouts=("hidden_dropout", "attention_dropout"),
        defaults={
            "layer_norm_eps": 1e-5,
            "rotary_emb_base": 10_000.0,
            "rotary_pct": 0.25,
            "hidden_dropout": 0.0,
            "tie_word_embeddings": False,
        },
        fixed={"hidden_act": "gelu", "use_parallel_residual": True, "attention_bias": True},
        trunk="gpt_neox.",
        layer="gpt_neox.layers.{}.",
        names={
            "embedding": "gpt_neox.embed_in",
            "norm_1": "input_layernorm",
            "attention.query": "attention.query",
            "attention.key": "attention.key",
            "attention.value": "attention.value",
            "attention.output": "attention.dense",
            "norm_2": "post_attention_layernorm",
            "feed_forward.up": "mlp.dense_h_to_4h",
            "feed_forward.down": "mlp.dense_4h_to_h",
            "norm": "gpt_neox.final_layer_norm",
            "head": "embed_out",
        },
        output="embed_out.weight",
        dropped=r"gpt_neox\.layers\.\d+\.attention\.((masked_)?bias|rotary_emb\.inv_freq)",
        renamed=((r"^lm_head\.", "embed_out."),),
        pack=_fuse_heads,
        unpack=_split_heads,
        details={"rotary_share": "rotary_pct"},
    ),
}
FAMILIES |= FOREIGN_FAMILIES
