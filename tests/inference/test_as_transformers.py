"""Generation beside transformers: the same tokens, greedy, in beams and cut off, from a tiny Llama."""

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.generation import MinPLogitsWarper, RepetitionPenaltyLogitsProcessor

from minillm.hub import load_pretrained
from minillm.inference import beam_search, filter_logits, generate
from minillm.inference.few_rows import few_rows
from minillm.inference.sampling import LARGE, penalise
from minillm.models import Decoder, ModelConfig
from minillm.peft import apply_lora

EOS = 3


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """transformers' model with grouped heads and ours, of the same file."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "initializer_range": 0.3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 700}
    ids = {"bos_token_id": 1, "eos_token_id": EOS, "pad_token_id": 0}
    theirs = LlamaForCausalLM(LlamaConfig(vocab_size=40, **sizes, **heads, **ids)).eval()
    folder = tmp_path_factory.mktemp("llama")
    theirs.save_pretrained(folder)
    return theirs, load_pretrained(folder)[0]


def prompts(batch, length, seed=0):
    return torch.randint(4, 40, (batch, length), generator=torch.Generator().manual_seed(seed))


def their_tokens(theirs, ids, new, **more):
    more = {"do_sample": False, "max_new_tokens": new, "pad_token_id": 0, **more}
    return theirs.generate(ids, attention_mask=more.pop("mask", torch.ones_like(ids)), **more)[
        :, ids.size(1) :
    ].tolist()


def up_to_end(row):
    return row[: row.index(EOS) + 1] if EOS in row else row


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("penalty", [1.0, 1.3, 0.8])
def test_greedy_tokens_are_those_of_transformers(pair, batch, penalty):
    theirs, ours = pair
    ids, mask = prompts(batch, 9), torch.ones(batch, 9, dtype=torch.long)
    for row in range(1, batch):
        mask[row, :row] = 0
    ids = torch.where(mask == 1, ids, 0)
    # One by one: in a batch theirs punishes the padding's token, too.
    expected = [their_tokens(theirs, ids[i : i + 1, i:], 30, repetition_penalty=penalty)[0] for i in range(batch)]
    came = generate(ours, ids, 30, 0, stop=[EOS], attention_mask=mask, repetition_penalty=penalty)[:, 9:].tolist()
    assert [up_to_end(row) for row in came] == [up_to_end(row) for row in expected]


@pytest.mark.parametrize("beams", [2, 4])
@pytest.mark.parametrize("early_stopping", [False, "never"])
def test_beams_find_the_text_of_transformers(pair, beams, early_stopping):
    theirs, ours = pair
    for seed in range(12):
        ids, new = prompts(1, 5, seed), 8
        options = {"num_beams": beams, "early_stopping": early_stopping, "length_penalty": 1.0}
        expected = up_to_end(their_tokens(theirs, ids, new, **options)[0])
        assert beam_search(ours, ids, new, beams, stop=[EOS])[0][0, 5:].tolist() == expected


def test_beams_of_a_long_prompt_leave_its_cache_where_it_is(pair):
    _, ours = pair
    ids = prompts(1, 300)
    found, score = beam_search(ours, ids, 12)
    logprobs = ours(found).detach()[0, 299:-1].log_softmax(-1)
    assert abs(float(logprobs.gather(1, found[0, 300:, None]).mean()) - score) < 1e-4


def test_a_cache_that_grows_gives_the_tokens_of_a_text_read_anew(pair):
    _, ours = pair
    ids = prompts(2, 3)
    assert torch.equal(generate(ours, ids, 600, 0), generate(ours, ids, 600, 0, use_cache=False))


def test_min_p_and_the_penalty_are_those_of_transformers():
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(0)) * 3
    seen = torch.randint(50, (4, 7), generator=torch.Generator().manual_seed(1))
    for penalty in (0.7, 1.2, 5.0):
        assert torch.equal(
            penalise(logits, seen, penalty), RepetitionPenaltyLogitsProcessor(penalty)(seen, logits.clone())
        )
    for p in (0.01, 0.2, 1.0):
        for temperature in (0.7, 1.5):
            expected = MinPLogitsWarper(p)(seen, logits / temperature)
            assert torch.equal(filter_logits(logits, temperature, min_p=p), expected)


def test_top_p_of_a_large_vocabulary_is_that_of_sorting_all_of_it():
    generator = torch.Generator().manual_seed(0)
    for spread, p in ((4.0, 0.9), (4.0, 0.5), (0.01, 0.9), (1.0, 1e-9)):  # the third needs more than the shortlist
        logits = torch.randn(3, LARGE + 5, generator=generator, dtype=torch.float64).float() * spread
        kept = filter_logits(logits, top_p=p) > float("-inf")
        ordered, order = logits.double().softmax(-1).sort(descending=True)
        expected = ((ordered.cumsum(-1) - ordered) < p).scatter(-1, order, (ordered.cumsum(-1) - ordered) < p)
        assert int((kept != expected).sum()) <= 3  # rounding at the border
        assert kept.gather(-1, logits.argmax(-1, keepdim=True)).all()


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("bias", [True, False])
def test_products_of_few_rows_are_those_of_the_layer(dtype, tolerance, bias):
    layer = nn.Sequential(nn.Linear(96, 128, bias=bias), nn.Linear(128, 50, bias=bias)).to(dtype)
    for shape, texts in [
        ((0,), 3),
        ((1,), 1),
        ((2,), 2),
        ((3, 1), 3),
        ((4, 2), 4),
        ((12,), 12),
        ((3, 100), 3),
        ((300,), 4),
    ]:
        x = torch.randn(*shape, 96, generator=torch.Generator().manual_seed(0)).to(dtype)
        expected = layer(x)
        with few_rows(layer, texts), torch.no_grad():
            came = layer(x)
        assert came.shape == expected.shape and came.dtype == dtype
        assert torch.allclose(came, expected, rtol=tolerance, atol=tolerance)
    assert all("forward" not in vars(each) for each in layer)


def test_only_the_last_position_of_a_prompt_is_scored_with_adapters_too(pair, monkeypatch):
    torch.manual_seed(0)
    models = [Decoder(ModelConfig(40, 64, 1, 16, 2, recipe=recipe)) for recipe in ("minillm", "gpt2", "llama")]
    for model in [pair[1], *models, apply_lora(Decoder(ModelConfig(40, 64, 1, 16, 2)))]:
        seen = []
        handle = model.head.register_forward_pre_hook(lambda _, x, seen=seen: seen.append(x[0].shape[:-1].numel()))
        generate(model, prompts(2, 9), 3, 0)
        handle.remove()
        assert seen == [2, 2, 2]


@pytest.mark.parametrize("name, value", [("min_p", -0.1), ("min_p", 1.5), ("repetition_penalty", 0.0)])
def test_new_settings_that_cannot_be_are_refused_by_name(pair, name, value):
    with pytest.raises(ValueError, match=f"^{name} is {value}: "):
        generate(pair[1], prompts(1, 3), 2, **{name: value})
