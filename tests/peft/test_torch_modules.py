"""Adapters on torch's own transformers, whose layers are read (`.weight`) as often as they are called."""

import copy

import pytest
import torch
from bare import stir
from torch import nn

from minillm.peft import (
    IA3,
    AdaLoRA,
    BitFit,
    Bottleneck,
    LoRA,
    adapters,
    freeze,
    inject,
    load_adapter,
    merge,
    remove,
    save_adapter,
    unmerge,
    use,
)

C = 16
X = torch.randn(3, 5, C, generator=torch.Generator().manual_seed(0))
HIDDEN = torch.tensor([[0, 0, 0, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 0, 1]]).bool()  # padding
METHODS = {
    "lora": LoRA(rank=3, alpha=7),
    "adalora": AdaLoRA(rank=3, target_rank=2),
    "ia3": IA3(targets=("linear1", "out_proj"), inputs=("linear2",)),
    "ia3, inputs": IA3(targets=("linear1",), inputs=("out_proj",)),
    "bitfit": BitFit(),
    "adapter": Bottleneck(targets=("linear1", "linear2"), rank=3),
}
FOLDS = [key for key in METHODS if key != "adapter"]
pytestmark = pytest.mark.filterwarnings("ignore:.*left as they are", "ignore:.*nested tensor")


def layer(kind, **more):
    return kind(C, 4, 32, dropout=0.0, batch_first=True, **more)


def encoder(**more):
    return nn.TransformerEncoder(layer(nn.TransformerEncoderLayer, **more), 2, enable_nested_tensor=not more)


def decoder():
    return nn.TransformerDecoder(layer(nn.TransformerDecoderLayer), 2)


def attention():
    return nn.Sequential(nn.Linear(C, C), nn.MultiheadAttention(C, 4, batch_first=True))


def run(model, padded=False):
    if isinstance(model, nn.TransformerDecoder):
        return model(X, X.flip(0), memory_key_padding_mask=HIDDEN if padded else None)
    if isinstance(model, nn.Sequential):
        x = model[0](X)
        return model[1](x, x, x, key_padding_mask=HIDDEN if padded else None)[0]
    came = model(X, src_key_padding_mask=HIDDEN if padded else None)
    return came.masked_fill(HIDDEN[..., None], 0) if padded else came  # the fast path gives padding other numbers


MODELS = {
    "encoder": encoder,
    "encoder, pre-norm": lambda: encoder(norm_first=True),
    "decoder": decoder,
    "attention": attention,
}


def of_attention(key):
    """A method for a model of one linear layer and one attention."""
    names = {"targets": ("0", "out_proj")}
    return IA3(**names, inputs=()) if key.startswith("ia3") else type(METHODS[key])(**names)


def adapted(name, key, std=0.3):
    torch.manual_seed(0)
    base = MODELS[name]()
    stir(base.parameters(), 0.1)
    method = of_attention(key) if name == "attention" else METHODS[key]
    model = inject(copy.deepcopy(base), method, generator=torch.Generator().manual_seed(1))
    freeze(model)
    stir([p for _, adapter in adapters(model) for p in adapter.own().values()], std)
    return base, model


def by_hand(base, model):
    """The bare model with the changed weights written into it."""
    twin = copy.deepcopy(base)
    with torch.no_grad():
        for path, adapter in adapters(model):
            part = twin.get_submodule(path)
            if hasattr(adapter, "A"):
                part.weight += adapter.method.scale * adapter.B @ adapter.A
            elif hasattr(adapter, "P"):
                part.weight += adapter.method.scale * adapter.P @ adapter.E.diag() @ adapter.Q
            elif hasattr(adapter, "shift"):
                part.bias += adapter.shift
            elif adapter.inputs:
                part.weight *= adapter.scale
            else:
                part.weight *= adapter.scale[:, None]
                part.bias *= adapter.scale
    return twin


def close(came, expected):
    torch.testing.assert_close(came, expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("key", FOLDS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("padded", [False, True])
def test_in_every_mode_the_model_does_what_the_changed_weights_do(name, key, padded):
    base, model = adapted(name, key)
    expected = run(by_hand(base, model).train(), padded)
    assert not torch.allclose(expected, run(base, padded), atol=1e-2)
    for train in (True, False):
        close(run(model.train(train), padded), expected)
        with torch.no_grad():
            close(run(model, padded), expected)
    with torch.no_grad():
        close(run(merge(model), padded), expected)
        close(run(remove(copy.deepcopy(model)), padded), expected)
        close(run(unmerge(model), padded), expected)
        use(model)
        close(run(model, padded), run(base, padded))
    assert all(torch.equal(t, base.state_dict()[path]) for path, t in remove(model).state_dict().items())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("train", [True, False])
def test_gradients_reach_every_lora_and_are_those_of_the_changed_weight(name, train):
    base, model = adapted(name, "lora")
    twin = by_hand(base, model).train(train)
    run(model.train(train)).square().sum().backward()
    run(twin).square().sum().backward()
    for path, adapter in adapters(model):
        slope, scale = twin.get_submodule(path).weight.grad, adapter.method.scale
        assert slope.abs().max() > 1e-3
        torch.testing.assert_close(adapter.B.grad, scale * slope @ adapter.A.mT, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(adapter.A.grad, scale * adapter.B.mT @ slope, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("key", METHODS)
@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_everything_that_was_added_learns(name, key):
    _, model = adapted(name, key)
    for train in (True, False):
        run(model.train(train)).square().sum().backward()
        assert all(p.grad.abs().sum() > 0 for p in model.parameters() if p.requires_grad)
        model.zero_grad()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", ["encoder", "encoder, pre-norm"])
def test_what_is_no_change_of_a_weight_is_called_in_evaluation_mode_too(name, padded):
    base, model = adapted(name, "adapter")
    expected = run(model.train(), padded)
    assert not torch.allclose(expected, run(base, padded), atol=1e-2)
    with torch.no_grad():
        close(run(model.eval(), padded), expected)
        inject(model, LoRA(rank=2, targets=("linear1", "linear2")), "above")
        close(run(model.eval(), padded), expected)
        use(model)
        close(run(model, padded), run(base.eval(), padded))


def test_where_a_weight_is_read_what_is_no_change_of_it_is_refused_and_not_missed():
    for method in (Bottleneck(targets=("out_proj",)), LoRA(dropout=0.5, targets=("out_proj",))):
        model = inject(encoder(), method).train()
        with pytest.raises(ValueError, match="reads the weight of a part instead of calling it, and its adapter"):
            run(model)
    run(model.eval())  # dropout is off
    model = inject(encoder(), LoRA(dropout=0.5, targets=("linear1",)))
    run(model.train())
    weight = adapters(inject(encoder(), Bottleneck(targets=("linear1",))))[0][1].weight
    assert (weight.dtype, weight.shape, weight.device.type) == (torch.float32, (32, C), "cpu")  # may be asked


def test_peft_says_the_same_where_it_calls_what_it_adapts():
    peft = pytest.importorskip("peft")
    base = encoder().train()
    theirs = peft.inject_adapter_in_model(
        peft.LoraConfig(r=3, lora_alpha=7, target_modules=["linear1", "linear2"]), copy.deepcopy(base)
    )
    ours = inject(copy.deepcopy(base), LoRA(rank=3, alpha=7, targets=("linear1", "linear2")))
    freeze(ours)
    pairs = [(adapter, theirs.get_submodule(path)) for path, adapter in adapters(ours)]
    for adapter, their in pairs:
        stir([their.lora_A.default.weight, their.lora_B.default.weight])
        adapter.A.data.copy_(their.lora_A.default.weight)
        adapter.B.data.copy_(their.lora_B.default.weight)
    expected = run(theirs.train())
    expected.square().sum().backward()
    came = run(ours.train())
    came.square().sum().backward()
    close(came, expected)
    close(run(ours.eval()), expected)
    for adapter, their in pairs:
        torch.testing.assert_close(adapter.B.grad, their.lora_B.default.weight.grad, atol=1e-3, rtol=1e-3)
    assert len(pairs) == 4


@pytest.mark.parametrize("key", METHODS)
def test_it_travels_through_files(key, tmp_path):
    base, model = adapted("encoder", key)
    save_adapter(model, tmp_path)
    again = load_adapter(copy.deepcopy(base), tmp_path)
    with torch.no_grad():
        assert torch.equal(run(again.eval(), True), run(model.eval(), True))


@pytest.mark.parametrize("key", FOLDS)
@torch.no_grad()
def test_in_bf16_the_modes_differ_by_rounding(key):
    model = adapted("encoder", key, std=0.1)[1]
    expected = run(model)
    for train in (True, False):
        came = model.bfloat16().train(train)(X.bfloat16()).float()
        assert (came - expected).norm() < 0.05 * expected.norm()
    assert all(adapter.weight.dtype == adapter.bias.dtype == torch.bfloat16 for _, adapter in adapters(model))


# What is not adapted is said


class Conv1D(nn.Module):
    """As in transformers' GPT-2: a linear layer whose matrix is (in, out)."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(C, C))

    def forward(self, x):
        return x @ self.weight


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: nn.Conv2d(3, 4, 3), r"0\.0 \(Conv2d\)"),
        (Conv1D, r"0\.0 \(Conv1D\)"),
        (lambda: nn.Embedding(9, C), r"0\.0 \(Embedding\)"),
        (lambda: nn.MultiheadAttention(C, 4), r"0\.0 \(MultiheadAttention\)"),
        (lambda: nn.Bilinear(2, 2, 2), r"0\.0 \(Bilinear\)"),
    ],
)
def test_a_part_with_a_matrix_that_is_no_linear_layer_is_said_to_be_left_as_it_is(part, words):
    model = nn.Sequential(nn.ModuleList([part(), nn.Linear(C, C), nn.LayerNorm(C)]))
    for method in (LoRA(), AdaLoRA(), IA3(targets=("*",), inputs=()), Bottleneck(targets=("*",))):
        with pytest.warns(UserWarning, match=f"no linear layers, and left as they are: {words}$"):
            inject(copy.deepcopy(model), method)
    with pytest.raises(ValueError, match=rf"'0\.0'; what it could adapt .*; what it could not: {words}"):
        inject(model, LoRA(targets=("0.0",)))


def test_of_many_such_parts_a_few_are_named(recwarn):
    model = nn.Sequential(*(nn.Conv2d(3, 3, 3) for _ in range(5)), nn.Linear(3, 3))
    with pytest.warns(UserWarning, match=r"0 \(Conv2d\), 1 \(Conv2d\), 2 \(Conv2d\), 2 more$"):
        inject(model, LoRA())
    recwarn.clear()
    inject(model, LoRA(targets=("5",)), "named")
    assert not recwarn
