"""Loss functions for `fit`: from a model and a batch to the (sum, number of terms) of the loss, one for each objective.

The formulas are in `losses`; here is only which tensors of a batch they get. In a small model the output layer costs
most, so logits are computed where there is a label and nowhere else: `model(..., keep=places)`. On a device a batch's
labels are looked for before it travels, by `prepared`: to ask the device where they are would mean to wait for it.
"""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from minillm.models import evaluating
from minillm.system import ALONE, Compute
from minillm.training.losses import info_nce, masked_lm_loss, masked_lm_sum
from minillm.training.preparing import LossFunction, keep_here, keep_next, places, prepared, preparing


def as_sum(loss: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor | int]:
    """A loss function's result as (sum, number of terms); a plain mean counts as one term."""
    return loss if isinstance(loss, tuple) else (loss, 1)


@torch.no_grad()
def mean_loss(
    model: nn.Module, loss_fn: LossFunction, batches: Iterable[dict], compute: Compute | None = None, together=ALONE
) -> float:
    """The exact mean of a loss over all terms of all batches, with the model in evaluation mode.

    compute: by default where the model is, in fp32; together: processes that share the work.
    """
    compute = compute or Compute.of(model)

    def of_batch(batch: dict) -> tuple[float, int]:
        with compute.autocast():
            loss, count = as_sum(loss_fn(model, compute.to_device(prepared(loss_fn, model, batch))))
        return float(loss), int(count)

    with evaluating(model):
        sums = together.each(of_batch, batches)
    return sum(total for total, _ in sums) / max(sum(count for _, count in sums), 1)


def penalised(loss_fn: LossFunction, penalty: Callable[[nn.Module], Tensor]) -> LossFunction:
    """A loss function for `fit`: the mean loss + penalty(model), a regulariser.

    It is added once a term, and `fit` divides by all terms of a step: it counts once, however ragged micro-batches are.
    """

    def loss(model: nn.Module, batch: dict) -> tuple[Tensor, Tensor | int]:
        total, count = as_sum(loss_fn(model, batch))
        return total + count * penalty(model), count

    return preparing(partial(prepared, loss_fn))(loss)


def next_tokens(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """A causal model's predictions of the N labels of a batch. The last token predicts nothing, so it is not read.

    Args: batch: input_ids and labels (B, T), and attention_mask (B, T) where there is padding.
    Returns: logits (N, V) and labels (N,); of a prepared batch that has labels nearly everywhere, (B, T - 1, V) and
        (B, T - 1).
    """
    batch = batch if "kept" in batch else keep_next(model, batch, False)
    ids, mask = batch["input_ids"][:, :-1], batch.get("attention_mask")
    mask = None if mask is None else mask[:, :-1]
    if batch["kept"] is None:
        return model(ids, mask), batch["labels"][:, 1:]
    rows, columns, labels = batch["kept"]
    return model(ids, mask, keep=(rows, columns)), labels


@preparing(keep_next)
def causal_lm(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Language modelling: predict each next token. batch: as for `next_tokens`."""
    return masked_lm_sum(*next_tokens(model, batch))


def inputs_of(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The entries of a batch that a model reads."""
    return {key: batch[key] for key in ("input_ids", "attention_mask", "segment_ids") if key in batch}


@preparing(keep_here)
def masked_lm(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Predict what was masked. batch: input_ids, attention_mask and labels (B, T), as `data.mask_tokens` makes them."""
    rows, columns, labels = batch["kept"] if "kept" in batch else places(batch["labels"])
    return masked_lm_sum(model(**inputs_of(batch), keep=(rows, columns)), labels)


@preparing(keep_here)
def masked_lm_and_next_sentence(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """BERT's two objectives: the mean loss of masked tokens, plus that of next-sentence prediction.

    Args: model: a SequenceClassifier on an Encoder; batch: as for `masked_lm`, and `follows` (B,), 1 where it does.
    """
    rows, columns, labels = batch["kept"] if "kept" in batch else places(batch["labels"])
    x = model.trunk.hidden(**inputs_of(batch))  # (B, T, C), computed once for both
    masked = masked_lm_loss(model.trunk.head(x[rows, columns]), labels)
    return masked + masked_lm_loss(model.classify(x, batch["attention_mask"]), batch["follows"])


def classification(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Predict the class of each text, labels (B,), or of each token, labels (B, T), IGNORE_INDEX to ignore it."""
    return masked_lm_sum(model(**inputs_of(batch)), batch["labels"])


def contrastive(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Bring the vectors of paired texts together: rows 2 i and 2 i + 1 of the batch. model: a TextEncoder."""
    vectors = model(**inputs_of(batch))
    return info_nce(vectors[0::2], vectors[1::2])
