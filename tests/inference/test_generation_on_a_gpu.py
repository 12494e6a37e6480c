"""Generation on a GPU that is not there: the same texts, and nobody waits for who has ended at each token."""

import pytest
import torch
from virtual_gpu import VirtualGPU

from minillm.inference import generate
from minillm.inference.generation import ASK_EVERY
from minillm.models import Decoder, ModelConfig


def decoder(**changes):
    torch.manual_seed(0)
    model = Decoder(ModelConfig(**({"vocab_size": 12, "context": 80, "layers": 2, "width": 16, "heads": 2} | changes)))
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return model.eval()


@pytest.mark.parametrize("stop", [(), (3,), (3, (5, 7))])
def test_texts_are_those_of_the_cpu_up_to_the_place_where_the_last_has_ended(stop):
    model, ids, mask = decoder(), torch.tensor([[0, 1, 2], [4, 5, 6]]), torch.tensor([[0, 1, 1], [1, 1, 1]])
    expected = generate(model, ids, 40, 0.0, stop=stop, attention_mask=mask, pad_id=11)
    with VirtualGPU():
        there = model.to("cuda")
        found = generate(there, ids.to("cuda"), 40, 0.0, stop=stop, attention_mask=mask.to("cuda"), pad_id=11).cpu()
    assert torch.equal(found, expected)


def test_a_device_is_waited_for_every_16_tokens_and_not_at_all_where_nothing_ends_a_text():
    waits = {}
    for stop in ((), (99,)):
        for new in (16, 64):
            with VirtualGPU() as gpu:
                model = decoder().to("cuda")
                ids, generator = torch.zeros(2, 1, dtype=torch.long, device="cuda"), torch.Generator("cuda")
                before = gpu.waits.total()
                generate(model, ids, new, top_p=0.9, stop=stop, generator=generator)
                waits[len(stop), new] = gpu.waits.total() - before
    assert waits[0, 64] == waits[0, 16]
    assert waits[1, 64] - waits[1, 16] == (64 - 16) / ASK_EVERY
