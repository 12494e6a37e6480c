"""Generation: every way of computing gives the same text, and every filter keeps what it says."""

import itertools
import math

import pytest
import torch

from minillm.inference import beam_search, filter_logits, generate, write
from minillm.inference.sampling import choose_token, penalise
from minillm.models import RECIPES, Decoder, ModelConfig
from minillm.text import Tokenizer

TOKENIZER = Tokenizer.characters("abcdefg ")


def model(recipe="minillm", vocab_size=TOKENIZER.vocab_size, context=24):
    torch.manual_seed(0)
    decoder = Decoder(ModelConfig(vocab_size, context=context, layers=2, width=32, heads=4, recipe=recipe))
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return decoder.eval()


def prompt(B=1, T=4, seed=0):
    return torch.randint(0, 8, (B, T), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("recipe", list(RECIPES))
@pytest.mark.parametrize("new", [8, 60])
def test_with_and_without_the_cache_the_text_is_the_same_also_beyond_the_context(recipe, new):
    decoder, ids = model(recipe), prompt(3)
    with_cache = generate(decoder, ids, new, temperature=0)
    assert with_cache.shape == (3, 4 + new)
    assert torch.equal(with_cache, generate(decoder, ids, new, temperature=0, use_cache=False))
    assert torch.equal(with_cache, generate(decoder, ids, new, temperature=0))  # no state is left behind


@pytest.mark.parametrize("recipe", list(RECIPES))
@pytest.mark.parametrize("use_cache", [True, False])
def test_a_batch_of_ragged_prompts_is_continued_as_each_would_be_alone(recipe, use_cache):
    decoder = model(recipe)
    prompts = [prompt(1, T, seed=T)[0].tolist() for T in (1, 3, 9)]
    batch = TOKENIZER.pad(prompts, side="left")
    together = generate(
        decoder, batch["input_ids"], 12, temperature=0, attention_mask=batch["attention_mask"], use_cache=use_cache
    )
    for row, alone in zip(together, prompts):
        expected = generate(decoder, torch.tensor([alone]), 12, temperature=0)[0, len(alone) :]
        assert row[9:].tolist() == expected.tolist()


def test_greedy_follows_the_likeliest_token_at_every_step():
    decoder, ids = model(), prompt()
    text = generate(decoder, ids, 6, temperature=0)
    logits = decoder(text)
    assert text[0, 4:].tolist() == logits[0, 3:-1].argmax(-1).tolist()


def test_one_seed_gives_one_text_and_another_seed_another():
    decoder, ids = model(), prompt()
    draw = lambda seed: generate(decoder, ids, 15, generator=torch.Generator().manual_seed(seed))  # noqa: E731
    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))


def test_samples_have_the_frequencies_that_the_filtered_distribution_states():
    logits = torch.tensor([[2.0, 1.0, 0.5, 0.0, -3.0]])
    for settings in [(1.0, 0, 1.0), (0.5, 0, 1.0), (2.0, 3, 1.0), (1.0, 0, 0.8)]:
        expected = filter_logits(logits, *settings).softmax(-1)[0]
        draws = choose_token(logits.expand(20_000, 5), *settings, torch.Generator().manual_seed(0))
        seen = torch.bincount(draws, minlength=5) / 20_000
        assert (seen - expected).abs().max() < 0.015
        assert seen[expected == 0].sum() == 0


def test_filters_on_worked_examples():
    assert filter_logits(torch.tensor([[0.0, 1.0, 2.0, 3.0]]), 0.5, top_k=2).tolist() == [[-math.inf, -math.inf, 4, 6]]
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    kept = lambda p: (filter_logits(logits, top_p=p) > -math.inf).sum().item()  # noqa: E731
    assert [kept(p) for p in (0.01, 0.5, 0.51, 0.8, 0.81, 0.95, 0.96, 1.0)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert torch.equal(filter_logits(logits, top_k=99), logits)


@pytest.mark.parametrize(
    "name, value",
    [("temperature", v) for v in (-1, math.nan, math.inf)]
    + [("top_p", v) for v in (0.0, 1.1, math.nan)]
    + [("top_k", -1)],
)
def test_a_setting_that_cannot_be_is_refused_by_its_own_name_alone(name, value):
    others = {"temperature", "top_p", "top_k"} - {name}
    for use in (
        lambda **bad: filter_logits(torch.zeros(1, 4), **bad),
        lambda **bad: generate(model(), prompt(), 3, **bad),
    ):
        with pytest.raises(ValueError, match=f"^{name} is {value}: ") as error:
            use(**{name: value})
        assert not any(other in str(error.value) for other in others)


@pytest.mark.parametrize("temperature", [1e-7, 1e-40, 5e-324])
def test_a_temperature_of_nearly_0_takes_the_likeliest_token(temperature):
    decoder, ids = model(), prompt(2)
    assert torch.equal(generate(decoder, ids, 8, temperature), generate(decoder, ids, 8, temperature=0))
    with pytest.raises(
        ValueError, match=f"temperature is {temperature}: to draw from logits it must be at least 1e-06"
    ):
        filter_logits(torch.zeros(1, 4), temperature)


def test_a_text_grows_by_no_tokens_or_more_and_never_shrinks():
    decoder, ids = model(), prompt(1, 4)
    assert torch.equal(generate(decoder, ids, 0), ids)
    with pytest.raises(ValueError, match="max_new_tokens is -2: it must be at least 0"):
        generate(decoder, ids, -2)
    with pytest.raises(ValueError, match="max_new_tokens is -2: it must be at least 0"):
        write(decoder, TOKENIZER, ["abc"], -2)
    for length in (0, -2):
        with pytest.raises(ValueError, match=f"max_new_tokens is {length}: beam search takes at least 1"):
            beam_search(decoder, ids, length)


def test_stops_are_token_ids_and_none_is_empty():
    decoder, ids = model(), prompt()
    for use in (generate, beam_search):
        for text in (["."], [3, "ab"], "."):
            with pytest.raises(
                ValueError, match=r"stop has the text '(\.|ab)': give tokenizer.encode of it, or `write`"
            ):
                use(decoder, ids, 3, stop=text)
        with pytest.raises(ValueError, match="a stop is empty, and every text would end at once"):
            use(decoder, ids, 3, stop=[[]])


def test_a_model_that_learns_goes_on_learning_even_after_a_generation_that_failed():
    decoder = model().train()
    generate(decoder, prompt(), 3)
    beam_search(decoder, prompt(), 3)
    with pytest.raises(ZeroDivisionError):
        generate(decoder, prompt(), 3, finished=lambda new: 1 / 0)
    assert decoder.training and decoder.blocks[0].training


def test_a_text_ends_at_a_stop_token_or_sequence_and_is_padded_behind_it():
    decoder, ids = model(), prompt(4)
    free = generate(decoder, ids, 10, temperature=0)
    stop = free[0, 6].item()
    stopped = generate(decoder, ids, 10, temperature=0, stop=[stop], pad_id=9)
    for row, whole in zip(stopped[:, 4:].tolist(), free[:, 4:].tolist()):
        end = whole.index(stop) + 1 if stop in whole else len(row)
        assert row[:end] == whole[:end] and set(row[end:]) <= {9}
    pair = free[0, 6:8].tolist()
    assert generate(decoder, ids[:1], 10, temperature=0, stop=[pair])[0].tolist() == free[0, :8].tolist()


def test_unusable_prompts_are_refused():
    decoder = model()
    with pytest.raises(ValueError, match="a prompt is empty"):
        generate(decoder, torch.zeros(1, 0, dtype=torch.long), 3)
    with pytest.raises(ValueError, match="pad on the left"):
        generate(decoder, prompt(), 3, attention_mask=torch.tensor([[1, 1, 0, 0]]))
    with pytest.raises(ValueError, match="has 25 tokens and the model's context is 24"):
        generate(decoder, prompt(1, 25), 3)


def exhaustive(decoder, ids, length, vocab_size):
    """The likeliest continuation of all, by trying all."""
    texts = torch.tensor([ids[0].tolist() + list(c) for c in itertools.product(range(vocab_size), repeat=length)])
    logprobs = decoder(texts).log_softmax(-1)[:, ids.size(1) - 1 : -1]
    scores = logprobs.gather(2, texts[:, ids.size(1) :, None]).sum((1, 2))
    return texts[scores.argmax()], scores.max().item()


def test_a_beam_as_wide_as_the_world_finds_the_likeliest_text():
    decoder, ids = model(vocab_size=5), torch.tensor([[1, 2]])
    best, score = exhaustive(decoder, ids, 4, 5)
    found, found_score = beam_search(decoder, ids, 4, beams=125, length_penalty=0.0)
    assert found[0].tolist() == best.tolist() and found_score == pytest.approx(score, abs=1e-4)


def test_one_beam_is_greedy_and_more_beams_are_never_less_likely():
    decoder, ids = model(vocab_size=9), torch.tensor([[1, 2]])
    narrow, low = beam_search(decoder, ids, 8, beams=1, length_penalty=0.0)
    assert torch.equal(narrow, generate(decoder, ids, 8, temperature=0))
    assert beam_search(decoder, ids, 8, beams=8, length_penalty=0.0)[1] >= low - 1e-5


def test_a_beam_may_end_early():
    decoder, ids = model(vocab_size=5), torch.tensor([[1, 2]])
    found, score = beam_search(decoder, ids, 6, beams=5, stop=[3], length_penalty=0.0)
    ended = found[0, 2:].tolist()
    assert ended[-1] == 3 or len(ended) == 6
    logprobs = decoder(found).log_softmax(-1)[0, 1:-1].gather(1, found[0, 2:, None]).sum().item()
    assert score == pytest.approx(logprobs, abs=1e-4)


def test_a_beam_ends_at_a_whole_stop_sequence_and_not_at_its_beginning():
    decoder, ids = model(vocab_size=5), torch.tensor([[1, 2]])
    free, score = beam_search(decoder, ids, 6, beams=4, length_penalty=0.0)
    for place in range(2, 7):
        first = free[0, place].item()
        other, value = beam_search(decoder, ids, 6, beams=4, stop=[[first, 9999]], length_penalty=0.0)
        assert other.tolist() == free.tolist() and value == score
    pair = generate(decoder, ids, 6, temperature=0)[0, 4:6].tolist()
    found, _ = beam_search(decoder, ids, 6, beams=1, stop=[pair], length_penalty=0.0)
    assert found.tolist() == generate(decoder, ids, 6, temperature=0, stop=[pair]).tolist()
    assert found[0, -2:].tolist() == pair


def test_one_text_in_the_place_of_a_list_is_not_read_letter_by_letter():
    decoder = model()
    with pytest.raises(ValueError, match="prompts is the text 'abc': give a list of texts"):
        write(decoder, TOKENIZER, "abc")
    with pytest.raises(ValueError, match="stop is the text 'ab': give a list of texts"):
        write(decoder, TOKENIZER, ["abc"], stop="ab")
    with pytest.raises(ValueError, match="stop has an empty text"):
        write(decoder, TOKENIZER, ["abc"], stop=["a", ""])
    for size in (0, -1):
        with pytest.raises(ValueError, match=f"batch_size is {size}: it must be at least 1"):
            write(decoder, TOKENIZER, ["abc"], batch_size=size)


def test_write_begins_documents_and_cuts_at_stop_strings():
    decoder = model()
    texts = write(decoder, TOKENIZER, ["", "abc", "a b c d e"], 10, temperature=0)
    alone = [write(decoder, TOKENIZER, [p], 10, temperature=0)[0] for p in ("", "abc", "a b c d e")]
    assert texts == alone
    whole = write(decoder, TOKENIZER, ["a"], 10, temperature=0)[0]
    stop = whole[15:18]
    assert 0 < whole.index(stop) < len(whole) - 3
    assert write(decoder, TOKENIZER, ["a"], 10, temperature=0, stop=[stop])[0] == whole[: whole.index(stop)]


def test_however_small_top_p_is_the_likeliest_token_is_left():
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, 2.0, 0.0]])
    for top_p in (1e-300, 1e-46, 1e-9):  # the first two are 0 in fp32
        kept = filter_logits(logits, top_p=top_p).isfinite()
        assert kept[0].tolist() == [False, True, False] and kept[1].sum() == 1


@pytest.mark.parametrize("penalty", [1e-45, 1e-30, 1e30, 3e38])
def test_a_penalty_of_any_size_leaves_probabilities(penalty):
    logits = penalise(torch.tensor([[5.0, -5.0, 0.0, 1.0]]), torch.tensor([[0, 1, 2]]), penalty)
    for temperature in (1e-6, 1.0, 1e6):
        chances = filter_logits(logits, temperature).softmax(-1)
        assert chances.isfinite().all() and chances.sum().item() == pytest.approx(1)
