"""Models that others made, and our own from their folders.

load             a run folder as a model and a tokenizer
huggingface      checkpoints in Hugging Face's format, in and out; families, foreign: how each kind writes what we have;
                 settings: how their config.json says what only some families have
peft_adapters    LoRA in the format of Hugging Face's peft, in and out
"""

from minillm.hub.foreign import FOREIGN_FAMILIES
from minillm.hub.huggingface import load_pretrained, save_pretrained
from minillm.hub.load import base_of, load, load_causal, load_model, load_tokenizer, model_kind, rebuild
from minillm.hub.peft_adapters import load_peft_lora, save_peft_lora
