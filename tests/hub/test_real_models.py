"""Real trained models, where they can be had: what transformers says, and what loading costs."""

import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from real_models import MINILM, SMOLLM2, needs_minilm, needs_smollm2

from minillm.hub import load, load_model, read_gguf
from minillm.inference import generate

transformers = pytest.importorskip("transformers")

QUESTIONS = [
    "What is the capital of France?",
    "Who wrote Hamlet?",
    "What is 2 + 3?",
    "Name a fruit.",
    "What colour is the sky?",
    "What is the largest planet?",
]


@needs_smollm2
@torch.no_grad()
def test_smollm2_answers_with_the_tokens_of_transformers():
    ours = load_model(SMOLLM2)
    folder, file = SMOLLM2.parent, SMOLLM2.name
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
    for question in QUESTIONS:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=False
        )
        ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
        expected = theirs.generate(ids, do_sample=False, max_new_tokens=16, eos_token_id=None, pad_token_id=0)
        came = generate(ours, ids, 16, temperature=0)
        assert came.tolist() == expected.tolist(), question
        assert "Paris" in tokenizer.decode(came[0]) or question != QUESTIONS[0]


@needs_smollm2
def test_smollm2_is_unpacked_bit_for_bit_and_fast():
    gguf = pytest.importorskip("gguf")
    own, began = read_gguf(SMOLLM2), time.process_time()
    load(SMOLLM2)
    assert time.process_time() - began < 4
    for tensor in gguf.GGUFReader(SMOLLM2).tensors:
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(own.tensors[tensor.name].numbers().numpy(), expected), tensor.name


@needs_smollm2
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux how much memory was taken")
def test_smollm2_takes_hardly_more_memory_than_its_weights():
    code = (
        "import sys, minillm.hub as hub\n"
        "def rss(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) * 1024\n"
        "before = rss(); model = hub.load_model(sys.argv[1])\n"
        "print((rss() - before) / sum(p.numel() * p.element_size() for p in model.parameters()))"
    )
    said = subprocess.run([sys.executable, "-c", code, SMOLLM2], check=True, capture_output=True, text=True)
    assert float(said.stdout) < 1.15


@needs_minilm
@torch.no_grad()
def test_minilm_has_the_vectors_of_sentence_transformers():
    ours, tokenizer = load(MINILM)
    theirs = transformers.AutoModel.from_pretrained(MINILM).eval()
    texts = ["A cat sits on the mat.", "Stocks fell.", "How do I bake bread at home without an oven?"]
    batch = transformers.AutoTokenizer.from_pretrained(MINILM)(texts, padding=True, return_tensors="pt")
    x, mask = theirs(**batch).last_hidden_state, batch["attention_mask"][..., None]
    expected = torch.nn.functional.normalize((x * mask).sum(1) / mask.sum(1), dim=-1)
    torch.testing.assert_close(ours(batch["input_ids"], batch["attention_mask"]), expected, atol=1e-6, rtol=0)
    for text, ids, real in zip(texts, batch["input_ids"].tolist(), batch["attention_mask"].sum(1).tolist()):
        assert [*tokenizer.begin, *tokenizer.encode(text), *tokenizer.end] == ids[:real]
