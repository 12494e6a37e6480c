"""The page's forward pass, tokenizer and world in node, against torch, tiktoken, Hugging Face's library and Python."""

import math
import random
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from hostile import HOSTILE, hostile_texts
from in_node import ask, needs_node
from real_models import MINILM, SMOLLM2, needs_minilm, needs_smollm2

from minillm import hub, models, peft, tales
from minillm.inference import attention_maps, filter_logits
from minillm.models import RECIPES, Decoder, Encoder, ModelConfig
from minillm.tales import NextToken
from minillm.text import Tokenizer

pytestmark = [needs_node, pytest.mark.browser]  # slow beside the others
FAMILIES = {  # what only some families have, so that every part is run
    "mistral": {"pattern": "l", "window": 5},
    "smollm3": {"pattern": "gn"},
    "gpt_neox": {"rotary_share": 0.5},
    "llama": {"rope_factor": 4.0, "rope_low": 1.0, "rope_high": 4.0, "rope_original": 16},
    "gemma2": {"pattern": "lg", "window": 4, "query_scale": 9, "score_cap": 5.0, "logit_cap": 3.0},
    "gemma3": {"pattern": "llg", "window": 3, "local_theta": 100.0},
    "qwen3": {"head_dim": 12},
}


def shaken(model, seed=0):
    """A model whose every parameter is random, so that no part hides behind a zero or a one."""
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=generator)
    return model.eval()


def tiny(recipe, kind=Decoder, **more):
    torch.manual_seed(0)
    details = {"details": FAMILIES[recipe]} if recipe in FAMILIES else {}
    sizes = {"context": 24, "layers": 3, "width": 32, "heads": 4, "kv_heads": 2} | details | more
    return shaken(kind(ModelConfig(50, recipe=recipe, **sizes)))


ROWS = [[1, 5, 9, 2, 2, 30, 49, 0, 7, 11, 3], [4], [8, 8, 8, 21]]


def agree(model, said, rows=ROWS, tolerance=2e-5):
    for ids, row in zip(rows, said["rows"], strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([ids]))[0]
        assert float((torch.tensor(row["logits"]) - logits).abs().max()) < tolerance * max(1, float(logits.abs().max()))


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_page_gives_the_logits_of_every_recipe_at_once_and_step_by_step(recipe):
    model = tiny(recipe)
    agree(model, ask(model, rows=ROWS, steps=[1, 2, 4, 11, 2, 11]))  # what was cut off is forgotten
    if recipe in ("minillm", "gemma3"):
        agree(model, ask(model, rows=ROWS))


@pytest.mark.parametrize("recipe", ["minillm", "bert", "gpt2", "gemma3"])
def test_an_encoder_reads_both_ways(recipe):
    model = tiny(recipe, Encoder, segments=2)
    segments = [[0] * (len(ids) // 2) + [1] * (len(ids) - len(ids) // 2) for ids in ROWS]
    said = ask(model, rows=ROWS, segments=segments)
    for ids, numbers, row in zip(ROWS, segments, said["rows"]):
        with torch.no_grad():
            logits = model(torch.tensor([ids]), segment_ids=torch.tensor([numbers]))[0]
        assert float((torch.tensor(row["logits"]) - logits).abs().max()) < 2e-4


@pytest.mark.parametrize("recipe", ["minillm", "llama", "gemma2", "bert"])
def test_the_maps_of_the_heads_are_torch_s_and_a_head_that_is_off_says_nothing(recipe):
    model = tiny(recipe, Encoder if recipe == "bert" else Decoder)
    ids = torch.tensor(ROWS[:1])
    said = ask(model, rows=ROWS[:1])["rows"][0]["maps"]
    maps = attention_maps(model, ids)
    found = torch.stack([layer[0] for layer in maps]).flatten(0, 1)  # (layers * heads, T, T)
    own = torch.tensor([[row + [0.0] * (11 - len(row)) for row in head] for head in said])
    assert float((own - found).abs().max()) < 1e-5
    for layer, head in ((0, 1), (2, 3)):  # what the head adds passes through its columns of the output matrix
        D = model.config.head_dim
        model.blocks[layer].attention.output.weight.data[:, head * D : (head + 1) * D] = 0
    whole = tiny(recipe, Encoder if recipe == "bert" else Decoder)
    agree(model, ask(whole, rows=ROWS, off=["0.1", "2.3"]))


@pytest.mark.parametrize("precision", ["fp16", "int8", "int4"])
@pytest.mark.parametrize("recipe", ["minillm", "gpt2", "qwen2"])
def test_rounded_weights_are_those_that_python_says_they_are(precision, recipe):
    model = tiny(recipe, width=40, heads=5, kv_heads=0)
    said = ask(model, rows=ROWS, precision=precision)
    hub.rounded_weights(model, precision)
    agree(model, said, tolerance=1e-4)


def test_the_lstm_the_bigram_and_the_logit_lens():
    torch.manual_seed(0)
    lstm = shaken(models.LSTMLM(models.LSTMConfig(50, layers=2, width=12)))
    agree(lstm, ask(lstm, rows=ROWS, steps=[2, 11]))
    bigram = shaken(models.BigramLM(50))
    agree(bigram, ask(bigram, rows=ROWS))
    model = tiny("minillm")
    lens = torch.tensor(ask(model, rows=ROWS[:1], lens=True)["rows"][0]["lens"])
    with torch.no_grad():
        logits = model(torch.tensor(ROWS[:1]))[0, -1]
        model.blocks = model.blocks[:1]
        first = model(torch.tensor(ROWS[:1]))[0, -1]
    assert lens.shape == (4, 50)
    assert float((lens[-1] - logits).abs().max()) < 1e-3 and float((lens[1] - first).abs().max()) < 1e-3


METHODS = {
    "lora": peft.LoRA(rank=3), "adalora": peft.AdaLoRA(rank=3, target_rank=2), "ia3": peft.IA3(),
    "bitfit": peft.BitFit(),
    "adapter": peft.Bottleneck(rank=3), "prompt": peft.SoftPrompt(length=3), "ptuning": peft.PTuning(length=2),
    "prefix": peft.PrefixTuning(length=4), "llama_adapter": peft.LlamaAdapter(length=4),
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("recipe", ["gpt2"])
def test_adapters_stand_beside_the_weights_and_count_as_much_as_one_says(method, recipe):
    model = shaken(peft.inject(tiny(recipe), METHODS[method], "mine", torch.Generator().manual_seed(0)))
    strengths = (1.0, 0.0, 0.4) if METHODS[method].supports_strength else (1.0, 0.0)
    said = ask(model, rows=ROWS, steps=[1, 4, 11], strengths=strengths)
    for strength, rows in zip(strengths, said["all"]):
        peft.use(model, mine=strength)
        agree(model, {"rows": rows}, tolerance=5e-5)


HEADS = {
    "classes": lambda trunk: models.SequenceClassifier(trunk, 3),
    "pooled": lambda trunk: models.PooledClassifier(trunk, 3),
    "tags": lambda trunk: models.TokenClassifier(trunk, 4),
    "vectors": lambda trunk: models.TextEncoder(trunk),
    "reward": lambda trunk: models.RewardModel(trunk),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", [Decoder, Encoder])
def test_a_head_says_what_it_says_in_torch(head, kind):
    model = shaken(HEADS[head](tiny("minillm", kind)))
    said = ask(model, rows=ROWS)
    for ids, row in zip(ROWS, said["rows"]):
        with torch.no_grad():
            output = model(torch.tensor([ids]))[0]
        found = torch.tensor(row["top"])
        assert float((found.squeeze() - output.squeeze()).abs().max()) < 1e-3 * max(1, float(output.abs().max()))


def test_filters_cut_as_the_library_does():
    generator = torch.Generator().manual_seed(0)
    asked = []
    for how in ((1.0, 0, 1.0), (0.5, 0, 0.9), (1.3, 4, 1.0), (0.8, 7, 0.6), (2.0, 1, 1.0), (1.0, 0, 0.01)):
        asked += [(torch.randn(40, generator=generator) * 3, *how) for _ in range(8)]
    said = ask(filters=[(logits.tolist(), *how) for logits, *how in asked])["filters"]
    for (logits, *how), row in zip(asked, said):
        expected = filter_logits(logits[None].double(), *how)[0].softmax(-1).double()
        assert float((torch.tensor(row).double() - expected).abs().max()) < 1e-6
    assert ask(filters=[([0.0, 2.0, 1.0], 0)])["filters"] == [[0, 1, 0]]


# Text to tokens


def same_tokens(tokenizer, texts):
    ids = [tokenizer.encode(text) for text in texts]
    said = ask(tokenizer=tokenizer, texts=texts, decode=ids)
    for text, own, found, back in zip(texts, ids, said["ids"], said["texts"]):
        assert found == own, text
        assert back == tokenizer.decode(own)


def test_tokens_of_hostile_strings_are_tiktoken_s():
    texts = [*HOSTILE, *hostile_texts(150, 1)]
    same_tokens(Tokenizer.train([tale.text for tale in tales.make_documents(200, 0)], 600), texts)
    same_tokens(Tokenizer.characters("".join(texts)), texts)


def test_a_character_that_is_not_known_is_said_to_be_so():
    with pytest.raises(AssertionError, match="does not know the character"):
        ask(tokenizer=Tokenizer.characters("abc"), texts=["abd"])


# The world


def test_the_world_in_javascript_is_python_s():
    documents = [tale.text for tale in [*tales.make_tales(4, 5), *tales.make_patterns(12, 5)]]
    tokenizer = Tokenizer.train([tale.text for tale in tales.make_documents(200, 0)], 500)
    draw, prefixes = random.Random(0), [[], tokenizer.encode("Once there was a castle")]
    for text in documents:
        ids = tokenizer.encode(text)
        prefixes += [ids[: draw.randrange(len(ids) + 1)] for _ in range(8)]
    world = NextToken(tokenizer)
    said = ask(tokenizer=tokenizer, world=tales.grammar(), prefixes=prefixes)["world"]
    for ids, found in zip(prefixes, said):
        expected = world.after(ids)
        assert dict(found).keys() == expected.keys(), tokenizer.decode(ids)
        assert all(math.isclose(p, expected[i], rel_tol=0, abs_tol=1e-12) for i, p in found)


# Real models


@needs_smollm2
def test_a_real_model_in_four_bits_says_what_torch_says_with_the_same_weights():
    model, tokenizer = hub.load(SMOLLM2)
    same_tokens(tokenizer, [*HOSTILE, *hostile_texts(100, 2)])
    ids = tokenizer.encode("The capital of France is")
    said = torch.tensor(ask(model, precision="int4", rows=[ids])["rows"][0]["logits"])
    hub.rounded_weights(model, "int4")
    with torch.no_grad():
        logits = model(torch.tensor([ids]))[0]
    assert float((said - logits).abs().max()) < 2e-3
    assert torch.equal(said.argmax(-1), logits.argmax(-1))


@needs_minilm
def test_tokens_of_word_pieces_are_hugging_face_s():
    same_tokens(hub.load_tokenizer(MINILM), [*HOSTILE, *hostile_texts(150, 3)])
