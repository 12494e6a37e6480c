"""Parameter-efficient fine-tuning: ways to teach a trained model something new by changing little of it.

Everything here works on any nn.Module that has the parts it needs, and which never learns of it.

    adapter     wrappers, and where in a model they stand
    verbs       inject, freeze, state, merge; several adapters on one model
    lora        low-rank changes of matrices: LoRA; adalora: with ranks that move to where they matter
    prompts     vectors before the text: prompt tuning, P-tuning
    prefix      keys and values in every layer: prefix tuning, LLaMA-Adapter
    small       vectors and detours in single layers: IA3, BitFit, bottleneck adapters
    files       an adapter in a folder
    exchange    LoRA in the format of Hugging Face's peft, in and out
    selective   no additions: which of the model's own parameters learn
"""

from minillm.peft.adalora import AdaLoRA, Budget, orthogonality
from minillm.peft.adapter import Adapter, Method, adapters, names
from minillm.peft.exchange import load_peft_lora, save_peft_lora
from minillm.peft.files import METHODS, load_adapter, save_adapter
from minillm.peft.lora import LoRA, LoRALinear, apply_lora
from minillm.peft.prefix import LlamaAdapter, PrefixTuning
from minillm.peft.prompts import PTuning, SoftPrompt, simplify
from minillm.peft.selective import train_all, train_head, train_last, train_norms, train_only
from minillm.peft.small import IA3, BitFit, Bottleneck
from minillm.peft.verbs import (
    adapter_state,
    freeze,
    inject,
    load_adapter_state,
    merge,
    remove,
    switched_off,
    unmerge,
    use,
)

__all__ = [
    "IA3",
    "METHODS",
    "AdaLoRA",
    "Adapter",
    "BitFit",
    "Bottleneck",
    "Budget",
    "LlamaAdapter",
    "LoRA",
    "LoRALinear",
    "Method",
    "PTuning",
    "PrefixTuning",
    "SoftPrompt",
    "adapter_state",
    "adapters",
    "apply_lora",
    "freeze",
    "inject",
    "load_adapter",
    "load_adapter_state",
    "load_peft_lora",
    "merge",
    "names",
    "orthogonality",
    "remove",
    "save_adapter",
    "save_peft_lora",
    "simplify",
    "switched_off",
    "train_all",
    "train_head",
    "train_last",
    "train_norms",
    "train_only",
    "unmerge",
    "use",
]
