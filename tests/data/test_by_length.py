"""Texts of about one length are scored together: the same numbers, in the same order, and less padding."""

import torch

from minillm.data import ByLength, Padded
from minillm.inference import predict
from minillm.models import Decoder, ModelConfig, RewardModel, SequenceClassifier, TokenClassifier
from minillm.training import causal_lm, mean_loss


def examples(pairs=False):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 30, (37,), generator=generator).tolist()
    made = [{"input_ids": torch.randint(1, 20, (n,), generator=generator).tolist()} for n in lengths]
    for one in made:
        one["labels"] = list(one["input_ids"])
    return list(zip(made[0::2], made[1::2])) if pairs else made


def trunk():
    torch.manual_seed(0)
    model = Decoder(ModelConfig(20, context=40, layers=2, width=16, heads=2, recipe="llama"))
    return model.double()


def test_what_a_head_says_comes_back_in_the_order_of_the_texts():
    for kind, pairs in ((SequenceClassifier, False), (TokenClassifier, False), (RewardModel, True)):
        model = kind(trunk(), 1 if kind is RewardModel else 3).double()
        torch.nn.init.normal_(model.head.weight)
        plain, alike = (predict(model, batches(examples(pairs), 0, 4)) for batches in (Padded, ByLength))
        assert len(plain) == len(alike)
        for one, other in zip(plain, alike):
            assert one.shape == other.shape and torch.allclose(one, other, atol=1e-6)
    assert predict(model, ByLength([], 0, 4)) == []


def test_a_mean_loss_is_the_same_and_less_is_padded():
    found = {}
    for kind in (Padded, ByLength):
        batches = kind(examples(), 0, 4, causal=True)
        found[kind] = mean_loss(trunk(), causal_lm, batches), sum(batch["input_ids"].numel() for batch in batches)
    assert abs(found[Padded][0] - found[ByLength][0]) < 1e-6 and found[ByLength][1] < 0.7 * found[Padded][1]
