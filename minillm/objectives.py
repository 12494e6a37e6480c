"""What `fit` is given: for each way of training, a model and a batch to the (sum, number of terms) of its loss.

The formulas stand in `losses`; here is only which tensors of a batch they get. The output layer is the widest of a
small model, so it is asked for the positions that have a label and for no others: `model(..., keep=positions)`.
"""

from torch import Tensor, nn

from minillm.losses import IGNORE_INDEX, masked_lm_sum


def causal_lm(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Predict each next token. batch: input_ids and labels (B, T), and attention_mask (B, T) where there is padding.

    The last token predicts nothing, so the model does not read it.
    """
    mask, labels = batch.get("attention_mask"), batch["labels"][:, 1:]
    keep = labels != IGNORE_INDEX
    logits = model(batch["input_ids"][:, :-1], None if mask is None else mask[:, :-1], keep=keep)  # (N, V)
    return masked_lm_sum(logits, labels[keep])
