"""What `fit` is given: for each way of training, a model and a batch to the (sum, number of terms) of its loss.

The formulas stand in `losses`; here is only which tensors of a batch they get.
"""

from torch import Tensor, nn

from minillm.losses import causal_lm_sum


def causal_lm(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Predict each next token. batch: input_ids and labels (B, T), and attention_mask (B, T) where there is padding.

    The last token predicts nothing, so the model does not read it.
    """
    mask = batch.get("attention_mask")
    logits = model(batch["input_ids"][:, :-1], None if mask is None else mask[:, :-1])
    return causal_lm_sum(logits, batch["labels"])
