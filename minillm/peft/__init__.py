"""Parameter-efficient fine-tuning: teaching a trained model by changing little of it. In the order to read it:

adapter      wrappers, and where in a model they stand: any nn.Module that has the parts, and which never learns of it
operations   inject, freeze, state, merge; several adapters on one model
lora         low-rank changes of matrices: LoRA; adalora: with ranks that move to where they matter
prompts      vectors before the text: prompt tuning, P-tuning
prefix       keys and values in every layer: prefix tuning, LLaMA-Adapter
ia3          learned factors; bitfit: learned biases; bottleneck: narrow layers after each branch
files        an adapter in a folder
selective    no additions: which of the model's own parameters learn
"""

from minillm.peft.adalora import AdaLoRA, Budget, orthogonality
from minillm.peft.adapter import Adapter, Method, Slot, adapter_names, adapters, bare, slots
from minillm.peft.bitfit import BitFit
from minillm.peft.bottleneck import Bottleneck
from minillm.peft.files import METHODS, AdapterRun, adapter_bytes, load_adapter, save_adapter
from minillm.peft.ia3 import IA3
from minillm.peft.lora import LoRA, LoRALinear, apply_lora
from minillm.peft.operations import (
    adapter_state, freeze, inject, load_adapter_state, merge, remove, switched_off, unmerge, use,
)  # fmt: skip
from minillm.peft.prefix import LlamaAdapter, PrefixTuning
from minillm.peft.prompts import PTuning, SoftPrompt, first_real, insert, simplify
from minillm.peft.selective import output_layers, train_all, train_head, train_last, train_norms, train_only
