"""What cannot be adapted, named, used or loaded, and how it is said; nothing is changed by it."""

import pytest
import torch
from bare import IDS, V, bare_model
from torch import nn

from minillm.models import LSTMLM, LSTMConfig
from minillm.peft import (
    IA3,
    BitFit,
    Bottleneck,
    LlamaAdapter,
    LoRA,
    PrefixTuning,
    PTuning,
    SoftPrompt,
    adapter_names,
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


@pytest.mark.parametrize(
    ("make", "method", "words"),
    [
        (bare_model, LoRA(targets=("q_proj",)), "Decoder .* matches 'q_proj'; .* query, key, value, output, up, down"),
        (bare_model, LoRA(targets=("query", "blocks.9.*")), r"matches 'blocks\.9\.\*'"),
        (bare_model, LoRA(targets=("embedding",)), "matches 'embedding'"),
        (bare_model, IA3(inputs=("fc",)), "matches 'fc'"),
        (bare_model, PrefixTuning(targets=("query",)), "matches 'query'; what it could adapt is called: attend"),
        (bare_model, LlamaAdapter(layers=3), "layers is 3: the model has 2"),
        (bare_model, SoftPrompt(length=40), "a prompt of 40 vectors leaves no room in a context of 40"),
        (lambda: nn.ReLU(), LoRA(), "could adapt is called: nothing at all"),
        (lambda: nn.Linear(2, 2), LoRA(targets=("up",)), "could adapt is called: the model itself"),
        *[
            (
                lambda: LSTMLM(LSTMConfig(V, width=8)),
                method,
                f"LSTMLM reads no vectors .* cannot have a {method.key}",
            )
            for method in (SoftPrompt(), PTuning())
        ],
        *[
            (lambda: LSTMLM(LSTMConfig(V, width=8)), method, "nothing in this LSTMLM that the method can adapt matches")
            for method in (LoRA(), PrefixTuning(), LlamaAdapter(), IA3(), Bottleneck())
        ],
    ],
)
def test_what_matches_nothing_is_refused_with_the_names_that_there_are(make, method, words):
    model = make()
    before = list(model.state_dict())
    with pytest.raises(ValueError, match=words):
        inject(model, method)
    assert list(model.state_dict()) == before and not adapter_names(model)


def test_names_must_be_free_to_be_given_and_there_to_be_used():
    model = inject(inject(bare_model(), LoRA(), "letters"), BitFit(), "clinic")
    for verb, words in (
        (lambda: inject(model, IA3(), "clinic"), "an adapter called 'clinic' is on this model already"),
        (lambda: use(model, poems=1), "no adapter is called poems; there are: letters, clinic"),
        (lambda: freeze(model, "poems"), "no adapter called 'poems' is on this model; there are: letters, clinic"),
        (lambda: remove(model, "poems"), "no adapter called 'poems'"),
        (lambda: freeze(model, also=("tail",)), "Decoder has no parameters under 'tail'"),
        (lambda: adapter_state(remove(bare_model())), "no adapter is on this model"),
    ):
        with pytest.raises(ValueError, match=words):
            verb()
    assert set(adapter_names(model)) == {"letters", "clinic"}
    assert all(p.requires_grad for p in model.parameters())


def test_merged_adapters_are_left_as_they_are():
    model = merge(inject(inject(bare_model(), LoRA(), "letters"), BitFit(), "clinic"))
    for verb in (lambda: inject(model, IA3()), lambda: use(model, letters=1), lambda: remove(model, "letters")):
        with pytest.raises(ValueError, match=r"merged.*unmerge"):
            verb()
    with pytest.raises(ValueError, match="merged"), switched_off(model):
        pass
    use(unmerge(model), letters=1)


def test_tensors_of_another_adapter_are_refused_by_name():
    model = inject(bare_model(), LoRA(rank=3, targets=("query",)))
    before, name = model(IDS), "blocks.0.attention.query.A"
    freeze(model)
    state = {key: t.clone() + 1 for key, t in adapter_state(model).items()}
    for wrong in (
        {key: t for key, t in state.items() if key != name},
        state | {name: torch.ones(2, 16)},
        state | {"blocks.7.attention.query.A": torch.ones(3, 16)},
    ):
        with pytest.raises(ValueError, match=r"my\.file: not of this adapter on this model; .*query\.A"):
            load_adapter_state(model, wrong, source="my.file")
    assert torch.equal(model(IDS), before)
