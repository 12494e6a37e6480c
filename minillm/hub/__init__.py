"""Models that others made, and our own from their folders.

load             a run folder as a model and a tokenizer
huggingface      checkpoints in Hugging Face's format, in and out; families: how each kind writes what we have
tokenizer_json   tokenizers in Hugging Face's format, in; write_tokenizer: out; gguf_tokenizer: those of GGUF files
describe         tokenizers of older files, described in that format
peft_adapters    LoRA in the format of Hugging Face's peft, in and out
"""

from minillm.hub.gguf_tokenizer import LLAMA3, QWEN2, tokenizer_from_gguf
from minillm.hub.huggingface import load_pretrained, save_pretrained
from minillm.hub.load import base_of, load, load_causal, load_model, load_tokenizer, model_kind, rebuild
from minillm.hub.peft_adapters import load_peft_lora, save_peft_lora
from minillm.hub.tokenizer_json import read_tokenizer
from minillm.hub.write_tokenizer import write_tokenizer
