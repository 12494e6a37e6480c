"""Texts that outgrow the context: each in a batch comes out as it would alone, and every way of reading agrees."""

import pytest
import torch
from torch import nn

from minillm.inference import beam_search, generate, write
from minillm.inference.generation import ContextWindow
from minillm.models import LSTMLM, RECIPES, BigramLM, Decoder, LSTMConfig, ModelConfig
from minillm.peft import METHODS, LlamaAdapter, LoRA, PrefixTuning, PTuning, SoftPrompt, adapters, inject
from minillm.text import Tokenizer

V = 13


def decoder(recipe="minillm", context=8, **more):
    torch.manual_seed(0)
    model = Decoder(ModelConfig(V, context=context, layers=2, width=16, heads=2, recipe=recipe, **more)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def texts(lengths):
    generator = torch.Generator().manual_seed(sum(lengths))
    return [torch.randint(V, (length,), generator=generator) for length in lengths]


def padded(rows):
    T = max(map(len, rows))
    ids, mask = torch.full((len(rows), T), 5), torch.zeros(len(rows), T, dtype=torch.long)
    for place, row in enumerate(rows):
        ids[place, T - len(row) :], mask[place, T - len(row) :] = row, 1
    return ids, mask


@torch.no_grad()
def slowly(model, text, new, choose=lambda logits, t: int(logits.argmax())):
    """The text token by token, alone and without a cache; past the context it is read from half a context back."""
    context, begin = model.config.context, 0
    for t in range(new):
        if len(text) - begin > context:
            begin = len(text) - max(context // 2, 1)
        text = torch.cat((text, torch.tensor([choose(model(text[None, begin:])[0, -1], t)])))
    return text[-new:].tolist() if new else []


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("recipe", list(RECIPES))
@pytest.mark.parametrize("context", [1, 2, 3, 8])
def test_each_text_of_a_ragged_batch_comes_out_as_alone_however_far_past_the_context(recipe, context, use_cache):
    model, new = decoder(recipe, context), 2 * context + 3
    lengths = [context, 1, max(context - 1, 1), max(context // 2, 1), context]
    for some in (lengths, lengths[1:4], lengths[3:]):
        rows = texts(some)
        ids, mask = padded(rows)
        came = generate(model, ids, new, temperature=0, attention_mask=mask, use_cache=use_cache)[:, ids.size(1) :]
        assert came.tolist() == [slowly(model, row, new) for row in rows]


@pytest.mark.parametrize(
    "method", [SoftPrompt(length=2), PTuning(length=2), PrefixTuning(length=3), LlamaAdapter(length=2), LoRA(rank=2)]
)
@pytest.mark.parametrize("recipe", ["minillm", "gpt2"])
def test_a_prompt_or_a_prefix_moves_on_with_each_text(method, recipe):
    model = inject(decoder(recipe, 9), method, generator=torch.Generator().manual_seed(0))
    for _, adapter in adapters(model):
        for parameter in adapter.own().values():
            nn.init.normal_(parameter, std=0.4)
    assert type(method) in METHODS.values()
    rows = texts([model.config.context, 1, 4, 6])
    ids, mask = padded(rows)
    for use_cache in (True, False):
        came = generate(model, ids, 15, temperature=0, attention_mask=mask, use_cache=use_cache)[:, ids.size(1) :]
        assert came.tolist() == [slowly(model, row, 15) for row in rows]


@pytest.mark.parametrize("use_cache", [True, False])
def test_sampled_texts_are_those_of_a_text_alone_with_the_same_chances(use_cache, monkeypatch):
    """With a chance of its own for each text and step, u, the token is where the cumulative probability passes u."""
    model, rows, new = decoder(), texts([8, 3, 7, 1]), 20
    u = torch.rand(len(rows), new, generator=torch.Generator().manual_seed(0))

    def draw(logits, u):
        return (logits.softmax(-1).cumsum(-1) < u[..., None]).sum(-1).clamp(max=V - 1)

    steps = iter(u.T)
    monkeypatch.setattr("minillm.inference.generation.choose_token", lambda logits, *_: draw(logits, next(steps)))
    ids, mask = padded(rows)
    came = generate(model, ids, new, attention_mask=mask, use_cache=use_cache)[:, ids.size(1) :]
    for place, row in enumerate(rows):
        assert came[place].tolist() == slowly(model, row, new, lambda x, t, own=u[place]: int(draw(x, own[t])))


def test_a_text_that_ends_early_does_not_disturb_the_others():
    model, rows = decoder(), texts([8, 2, 6])
    ids, mask = padded(rows)
    alone = [slowly(model, row, 20) for row in rows]
    stop = alone[0][3]
    came = generate(model, ids, 20, temperature=0, stop=[stop], attention_mask=mask)[:, ids.size(1) :].tolist()
    for own, row in zip(came, alone):
        end = row.index(stop) + 1 if stop in row else 20
        assert own[:end] == row[:end]


@torch.no_grad()
def test_beams_and_samples_share_a_window_whose_rows_can_be_exchanged():
    model, rows = decoder(), texts([8, 2, 6])
    ids, mask = padded(rows)
    window = ContextWindow(model, 30, nn.functional.pad(mask, (0, 22), value=1), use_cache=True)
    order = [torch.tensor([2, 0, 1, 1]), torch.tensor([3, 3, 0]), torch.tensor([1, 2, 0])]
    grown = list(rows)
    for step in range(12):
        logits = window.next_logits(ids)
        alone = torch.stack([_logits(model, text, length) for text, length in zip(grown, map(len, grown))])
        torch.testing.assert_close(logits, alone, atol=1e-4, rtol=1e-4)
        token = logits.argmax(-1)
        ids = torch.cat((ids, token[:, None]), dim=1)
        grown = [torch.cat((text, t[None])) for text, t in zip(grown, token)]
        if step in (1, 4, 7):
            picked = order[step // 3]
            window.select(picked)
            ids, grown = ids[picked], [grown[i] for i in picked.tolist()]


def _logits(model, text, length):
    """What follows a text whose tokens from the context on were added one by one."""
    begin = 0
    for T in range(1, length + 1):
        if T - begin > model.config.context:
            begin = T - model.config.context // 2
    return model(text[None, begin:])[0, -1]


def test_a_model_of_one_token_of_context_goes_on_from_the_last_token():
    model, ids = decoder(context=1), torch.tensor([[3], [7]])
    expected = ids
    for _ in range(6):
        expected = torch.cat((expected, model(expected[:, -1:])[:, -1].argmax(-1, keepdim=True)), 1)
    assert torch.equal(generate(model, ids, 6, temperature=0), expected)
    assert torch.equal(generate(model, ids, 6, temperature=0, use_cache=False), expected)


# What is computed


@pytest.mark.parametrize("use_cache", [True, False])
def test_of_a_prompt_only_the_last_logits_are_computed(use_cache):
    model, seen = decoder(), []
    model.head.register_forward_hook(lambda head, inputs, output: seen.append(output.shape))
    generate(model, texts([6])[0].repeat(3, 1), 4, use_cache=use_cache)
    assert seen == [(3, V)] * 4


@pytest.mark.parametrize("build", [lambda: BigramLM(V), lambda: LSTMLM(LSTMConfig(V, width=8)), lambda: _Bare()])
def test_models_without_a_cache_or_a_context_generate(build):
    torch.manual_seed(0)
    model = build().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    rows = texts([6, 2])
    ids, mask = padded(rows)
    came = generate(model, ids, 9, temperature=0, attention_mask=mask)
    for place, row in enumerate(rows):
        for _ in range(9):
            row = torch.cat((row, model(row[None])[0, -1].argmax()[None]))
        assert came[place, 6:].tolist() == row[-9:].tolist()


class _Bare(nn.Module):
    """Somebody's model: logits of ids, and no more."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(V, V)

    def forward(self, ids, mask=None):
        return self.table(ids)


def test_the_cache_is_of_the_precision_that_the_model_computes_in():
    model, made = decoder(), []
    cache = type(model).new_cache
    model.new_cache = lambda *args: made.append(cache(model, *args)) or made[-1]
    ids = texts([5])[0][None]
    generate(model, ids, 3)
    with torch.autocast("cpu", torch.bfloat16):
        within = generate(model, ids, 20, temperature=0)
        without = generate(model, ids, 20, temperature=0, use_cache=False)
    generate(model.bfloat16(), ids, 3)
    assert [(c.keys.dtype, c.values.dtype) for c in made[:2]] == [(torch.float32,) * 2, (torch.bfloat16,) * 2]
    assert made[-1].keys.dtype == made[-1].values.dtype == torch.bfloat16
    assert torch.equal(within, without)
    assert made[0].keys.size(-2) == 8 and model.new_cache(1, 4, torch.float64).keys.dtype == torch.float64


@pytest.mark.parametrize("context", [8, 10_000])
def test_a_cache_is_as_long_as_the_text_will_be_and_never_longer_than_the_context(context):
    model = decoder(context=context)
    window = ContextWindow(model, 12, torch.ones(1, 12), use_cache=True)
    window.next_logits(texts([5])[0][None])
    assert window.cache.keys.size(-2) == min(context, 12)


# What is refused, and what is left as it was


@pytest.mark.parametrize("shape", [(5,), (), (1, 5, 2)])
def test_what_is_no_batch_of_prompts_is_refused(shape):
    for use in (generate, beam_search):
        with pytest.raises(ValueError, match=r"input_ids are \[.*\]: give \(B, T\), a row for each prompt"):
            use(decoder(), torch.zeros(shape, dtype=torch.long), 3)


def test_a_mask_of_another_shape_is_refused():
    ids = torch.zeros(2, 5, dtype=torch.long)
    with pytest.raises(ValueError, match=r"input_ids are \[2, 5\] with a mask of \[2, 4\]"):
        generate(decoder(), ids, 3, attention_mask=torch.ones(2, 4))


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("stop", [[], [3]])
def test_no_prompts_give_no_texts(use_cache, stop):
    none = torch.zeros(0, 4, dtype=torch.long)
    for more in ({}, {"attention_mask": none}):
        assert generate(decoder(), none, 9, stop=stop, use_cache=use_cache, **more).shape[0] == 0


def test_a_part_that_was_in_evaluation_mode_alone_stays_so():
    model = decoder().train()
    model.blocks[0].eval()
    generate(model, torch.zeros(1, 2, dtype=torch.long), 2)
    with pytest.raises(ZeroDivisionError):
        generate(model, torch.zeros(1, 2, dtype=torch.long), 2, finished=lambda new: 1 / 0)
    modes = {name: part.training for name, part in model.named_modules()}
    assert {name for name, training in modes.items() if not training} == {
        name for name in modes if f"{name}.".startswith("blocks.0.")
    }


@pytest.mark.parametrize("broken", [torch.nan, -torch.inf, torch.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_logits_that_are_no_numbers_are_said_and_not_drawn_from(broken, temperature):
    model = decoder()
    model.head.register_forward_hook(lambda head, inputs, output: output.fill_(broken))
    with pytest.raises(ValueError, match="the model's logits are no numbers: its weights are damaged"):
        generate(model, torch.zeros(2, 3, dtype=torch.long), 3, temperature)


@pytest.mark.parametrize("top_k", [0, 1, V - 1, V, V + 1, 10**9])
@pytest.mark.parametrize("top_p", [1e-12, 1.0])
@torch.no_grad()
def test_the_ends_of_every_range_of_sampling_work(top_k, top_p):
    model, ids = decoder(), torch.zeros(2, 3, dtype=torch.long)
    came = generate(model, ids, 6, 1.0, top_k, top_p, generator=torch.Generator().manual_seed(0))
    certain = top_k == 1 or top_p < 1
    free = generate(model, ids, 6, 0 if certain else 1.0, generator=torch.Generator().manual_seed(0))
    assert torch.equal(came, free) or 1 < top_k < V


class _Spelled(BigramLM):
    """Says one token after another, in the order of a list."""

    def __init__(self, ids, V):
        super().__init__(V)
        for before, after in zip(ids, ids[1:]):
            self.table.weight.data[before, after] = 100.0


@pytest.mark.parametrize("stop", ["b c", "d", "c<", "zz", "c d", "<|user|>"])
def test_a_stop_is_found_across_the_borders_of_tokens_and_in_the_text_that_is_shown(stop):
    tokenizer = Tokenizer.train(["a b c d " * 9], 256 + 20)
    said = [tokenizer.bos_id, *(i for word in ("a", " b", " c") for i in tokenizer.encode(word))]
    said += [tokenizer.specials["<|user|>"], *tokenizer.encode(" d"), tokenizer.eos_id]
    model = _Spelled(said, tokenizer.vocab_size)
    expected = "a b c<|user|> d".partition(stop)[0]  # whole, where the stop is not in it
    assert write(model, tokenizer, [""], 50, temperature=0, stop=[stop]) == [expected]
