"""Heads: each loss and gradient against a slow loop, and answers that padding on either side does not change."""

import pytest
import torch

from minillm.data import IGNORE_INDEX, Padded
from minillm.models import (
    LSTMLM,
    POOLINGS,
    Decoder,
    Encoder,
    LSTMConfig,
    ModelConfig,
    PairClassifier,
    RewardModel,
    SequenceClassifier,
    TextEncoder,
    TokenClassifier,
)
from minillm.training import classification, contrastive, inputs_of

TRUNKS = {
    "encoder": lambda: Encoder(ModelConfig(20, 80, 2, 16, 2)),
    "decoder": lambda: Decoder(ModelConfig(20, 80, 2, 16, 2)),
    "lstm": lambda: LSTMLM(LSTMConfig(20, 1, 16)),
}
HEADS = {
    "sequence": lambda trunk: SequenceClassifier(trunk, 3),
    "mean": lambda trunk: SequenceClassifier(trunk, 3, pooling="mean"),
    "pair": lambda trunk: PairClassifier(trunk, 2),
    "token": lambda trunk: TokenClassifier(trunk, 4),
    "vector": lambda trunk: TextEncoder(trunk),
    "reward": lambda trunk: RewardModel(trunk),
}


def build(trunk, head):
    torch.manual_seed(0)
    model = HEADS[head](TRUNKS[trunk]())
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # a head of zeros would hide every slip
    return model.eval()


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("pads", [0, 1, 50])
def test_padding_on_either_side_changes_no_answer(trunk, head, pads):
    model, ids = build(trunk, head), torch.randint(20, (3, 8))
    junk = torch.randint(20, (3, pads))
    real, none = torch.ones(3, 8, dtype=torch.long), torch.zeros(3, pads, dtype=torch.long)
    plain = model(ids)
    left = model(torch.cat([junk, ids], 1), torch.cat([none, real], 1))
    right = model(torch.cat([ids, junk], 1), torch.cat([real, none], 1))
    if head == "token":
        left, right = left[:, pads:], right[:, :8]
    torch.testing.assert_close(left, plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(right, plain, atol=1e-5, rtol=1e-5)


def test_poolings_read_what_they_say_in_ragged_texts():
    x = torch.arange(12.0).view(2, 3, 2)
    mask = torch.tensor([[0, 1, 1], [1, 0, 0]])
    assert POOLINGS["first"](x, mask).tolist() == [[2, 3], [6, 7]]
    assert POOLINGS["last"](x, mask).tolist() == [[4, 5], [6, 7]]
    assert POOLINGS["mean"](x, mask).tolist() == [[3, 4], [6, 7]]
    assert POOLINGS["mean"](x, torch.zeros(2, 3)).tolist() == [[0, 0], [0, 0]]


def ragged(labels):
    lengths = (3, 7, 5)
    items = [{"input_ids": torch.randint(20, (n,)).tolist()} for n in lengths]
    return [item | {"labels": label} for item, label in zip(items, labels(lengths))]


def gradients(model, loss):
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return [torch.zeros(()) if g is None else g for g in found]


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("head", ["sequence", "token"])
def test_a_batch_of_ragged_texts_has_the_loss_and_the_gradients_of_a_loop_over_them(trunk, head):
    model = build(trunk, head)
    if head == "sequence":
        examples = ragged(lambda lengths: [2, 0, 1])
    else:
        examples = ragged(lambda lengths: [[1, IGNORE_INDEX, 3], [0] * 7, [IGNORE_INDEX] * 5])
    batch = next(iter(Padded(examples, pad_id=7, batch_size=3)))
    total, count = classification(model, batch)
    terms = []
    for example in examples:
        logits = model(torch.tensor([example["input_ids"]]))[0].log_softmax(-1)
        labels = example["labels"] if isinstance(example["labels"], list) else [example["labels"]]
        rows = logits if logits.dim() == 2 else logits[None]
        terms += [-row[label] for row, label in zip(rows, labels) if label != IGNORE_INDEX]
    assert count == len(terms)
    slow = sum(terms)
    torch.testing.assert_close(total, slow)
    for a, b in zip(gradients(model, total), gradients(model, slow), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_the_contrastive_loss_equals_a_loop_over_texts_and_rivals(trunk):
    model = build(trunk, "vector")
    texts = [torch.randint(20, (n,)).tolist() for n in (4, 9, 6, 5, 3, 8)]
    pairs = [tuple({"input_ids": t} for t in texts[i : i + 2]) for i in (0, 2, 4)]
    loss = contrastive(model, next(iter(Padded(pairs, pad_id=3, batch_size=3))))
    vectors = [model(torch.tensor([text]))[0] for text in texts]
    torch.testing.assert_close(vectors[0].norm(), torch.tensor(1.0))
    terms = []
    for mine, others in ((0, 1), (1, 0)):
        for i in range(3):
            scores = torch.stack([vectors[2 * i + mine] @ vectors[2 * j + others] / 0.05 for j in range(3)])
            terms.append(-scores.log_softmax(0)[i])
    slow = sum(terms) / 6
    torch.testing.assert_close(loss, slow, atol=1e-5, rtol=1e-5)
    for a, b in zip(gradients(model, loss), gradients(model, slow), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_an_untrained_classifier_finds_every_class_equally_likely():
    model = SequenceClassifier(TRUNKS["encoder"](), 5)
    assert model(torch.randint(20, (2, 6))).softmax(-1).tolist() == [pytest.approx([0.2] * 5)] * 2
    assert model.pooling == "mean" and SequenceClassifier(TRUNKS["lstm"](), 5).pooling == "last"


def test_bad_heads_are_refused():
    with pytest.raises(ValueError, match="unknown pooling 'max': choose one of first, last, mean"):
        SequenceClassifier(TRUNKS["encoder"](), 3, pooling="max")
    with pytest.raises(ValueError, match="at least 1 output, not 0"):
        TokenClassifier(TRUNKS["encoder"](), 0)


def test_an_empty_batch_has_loss_zero():
    model = build("encoder", "token")
    batch = {"input_ids": torch.zeros(0, 4, dtype=torch.long), "labels": torch.zeros(0, 4, dtype=torch.long)}
    total, count = classification(model, batch)
    assert total.item() == 0 and count == 0 and inputs_of(batch).keys() == {"input_ids"}
