"""A step that can be captured: the same texts, one graph, and nothing that a GPU would be waited for."""

import sys

import pytest
import torch
import torch._dynamo
from torch._dynamo.utils import counters
from virtual_gpu import VirtualGPU

from minillm.cli import main
from minillm.inference import beam_search, captured, generate
from minillm.models import LSTMLM, Decoder, LSTMConfig, ModelConfig

IDS, MASK = torch.tensor([[0, 1, 2], [4, 5, 6]]), torch.tensor([[0, 1, 1], [1, 1, 1]])


@pytest.fixture(autouse=True)
def without_a_compiler_of_c(monkeypatch):
    """What is captured by dynamo is run by torch, which takes no minute."""
    torch._dynamo.reset()
    counters.clear()
    plain = torch.compile
    eager = lambda function, **how: plain(function, backend="eager", fullgraph=True, dynamic=how.get("dynamic"))  # noqa: E731
    monkeypatch.setattr(torch, "compile", eager)


def decoder(**changes):
    torch.manual_seed(0)
    model = Decoder(ModelConfig(**({"vocab_size": 12, "context": 80, "layers": 2, "width": 16, "heads": 2} | changes)))
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return model.eval()


@pytest.mark.parametrize("recipe", ["minillm", "gpt2", "llama"])
@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "padded"])
def test_greedy_texts_are_the_same_in_one_graph(recipe, mask):
    model = decoder(recipe=recipe)
    expected = generate(model, IDS, 40, 0.0, attention_mask=mask)
    assert torch.equal(generate(captured(model), IDS, 40, 0.0, attention_mask=mask), expected)
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]


@pytest.mark.compiled
def test_texts_longer_than_the_context_and_than_the_first_cache_are_the_same(monkeypatch):
    monkeypatch.setattr("minillm.inference.generation.ROOM", 8)
    model = decoder(context=24)
    for mask in (None, MASK):
        expected = generate(model, IDS, 60, 0.0, attention_mask=mask)
        assert torch.equal(generate(captured(model), IDS, 60, 0.0, attention_mask=mask), expected)


@pytest.mark.compiled
def test_grouped_heads_and_bf16_are_the_same():
    model = decoder(heads=4, kv_heads=2, recipe="llama", width=32)
    expected = generate(model, IDS, 30, 0.0)
    assert torch.equal(generate(captured(model), IDS, 30, 0.0), expected)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = generate(captured(model), IDS, 6, 0.0), generate(model, IDS, 6, 0.0, exact=True)
    assert (found == expected).float().mean() > 0.7  # the mask takes another path, whose roundings differ


@pytest.mark.compiled
def test_sampled_texts_and_beams_are_the_same():
    model = decoder()
    draw = lambda m: generate(m, IDS, 30, 0.9, top_p=0.9, stop=(3,), generator=torch.Generator().manual_seed(1))  # noqa: E731
    assert torch.equal(draw(captured(model)), draw(model))
    assert torch.equal(beam_search(captured(model), IDS[:1], 20, 3)[0], beam_search(model, IDS[:1], 20, 3)[0])


def test_a_gpu_is_not_waited_for_between_tokens(monkeypatch):
    monkeypatch.setattr(sys.modules["minillm.inference.captured"], "Compiled", lambda function, **how: function)
    expected = generate(decoder(), IDS, 40, 0.0, attention_mask=MASK)
    waits = []
    for new in (8, 40):
        with VirtualGPU() as gpu:
            model = captured(decoder().to("cuda"))
            before = gpu.waits.total()
            found = generate(model, IDS.to("cuda"), new, 0.0, attention_mask=MASK.to("cuda"))
            waits.append(gpu.waits.total() - before)
            found = found.cpu()
        assert torch.equal(found, expected[:, : 3 + new])
    assert waits[0] == waits[1]


def test_other_models_go_on_without_it_which_is_said(tmp_path, capsys):
    model = LSTMLM(LSTMConfig(12, 1, 8))
    assert captured(model) is model and "--compile has no use for a LSTMLM" in capsys.readouterr().out
    (tmp_path / "text.txt").write_text("\n\n".join(f"say something kind, number {i}: you are good" for i in range(60)))
    size = "--depth 1 --width 16 --heads 2 --vocab-size 280 --context 32 --max-steps 2 --samples 0 --device cpu"
    assert main(["pretrain", "--data", f"{tmp_path}/text.txt", *size.split(), "--out", f"{tmp_path}/run"]) == 0
    capsys.readouterr()
    texts = []
    for more in ([], ["--compile"]):
        line = ["generate", "--from", f"{tmp_path}/run", "--temperature", "0", "--dtype", "fp32", "--device", "cpu"]
        assert main([*line, *more]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
