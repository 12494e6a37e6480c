"""Models that others made, and our own from their folders.

load             a model and a tokenizer from a path: a run folder, or what others made
sources          a run, or a model of others, as a place where a command begins
pretrained       what others made, with its head; weights: how a model is filled, with no second copy in memory
huggingface      checkpoints in Hugging Face's format, in and out; families, foreign: how each kind writes what we have;
                 settings: how their config.json says what only some families have
gguf             GGUF files: fields and tensors; gguf_blocks: how numbers are packed; gguf_models: as Hugging Face's;
                 gguf_write: out; gguf_vocabulary: with a tokenizer
tokenizer_json   tokenizers in Hugging Face's format, in; write_tokenizer: out; gguf_tokenizer: those of GGUF files
describe         tokenizers of older files, described in that format
peft_adapters    LoRA in the format of Hugging Face's peft, in and out
web              a model and its tokenizer for a page of HTML that runs them
"""

from minillm.hub.foreign import FOREIGN_FAMILIES
from minillm.hub.gguf import GGUF, read_gguf
from minillm.hub.gguf_tokenizer import LLAMA3, QWEN2, tokenizer_from_gguf
from minillm.hub.gguf_vocabulary import tokenizer_fields
from minillm.hub.gguf_write import WRITTEN, save_gguf, write_gguf
from minillm.hub.huggingface import load_pretrained, save_pretrained
from minillm.hub.load import (
    base_of, load, load_causal, load_labels, load_model, load_tokenizer, model_kind, rebuild,
)  # fmt: skip
from minillm.hub.peft_adapters import load_peft_lora, save_peft_lora
from minillm.hub.pretrained import is_foreign, load_foreign, save_foreign
from minillm.hub.sources import Foreign, dtype_of_others, holds_head, reading_length, source, stage_of
from minillm.hub.tokenizer_json import read_tokenizer
from minillm.hub.write_tokenizer import write_tokenizer
from minillm.hub.web import PRECISIONS, WebModel, rounded_weights, web_model, web_tokenizer
