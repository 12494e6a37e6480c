"""DPO and IPO beside trl's trainer: the same weights, pairs, losses, rewards and gradients; and where it differs."""

import importlib.util

import pytest
import torch
from toys import FP32, TOKENIZER, decoder, preferences

from minillm.align import direct_preference, logprobs_of_batch, loss_named, margins, pair_of_answers, with_reference
from minillm.data import IGNORE_INDEX, Padded
from minillm.hub import save_pretrained
from minillm.system import pick_device
from minillm.training import dpo_loss, ipo_loss

COMPUTE, BETA = pick_device(**FP32), 0.3
needs_trl = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="trl is not installed")


def trl_trainer(folder, policy, reference, **settings):
    """trl's trainer for the same two models. It wants a text to learn from, which nobody reads."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer

    theirs = []
    for name, model in (("policy", policy), ("reference", reference)):
        save_pretrained(model, folder / name)
        theirs.append(AutoModelForCausalLM.from_pretrained(folder / name))
    words = Tokenizer(models.WordLevel({"a": 0, "<eos>": TOKENIZER.eos_id, "<pad>": TOKENIZER.pad_id}, unk_token="a"))
    words = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", pad_token="<pad>")
    plain = {"report_to": "none", "bf16": False, "use_cpu": True, "gradient_checkpointing": False, "disable_tqdm": True}
    return DPOTrainer(
        *theirs,
        args=DPOConfig(str(folder / "out"), beta=BETA, **plain, **settings),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "a", "rejected": "a"}]),
        processing_class=words,
    )


def theirs_of(trainer, examples, loss_type, label_smoothing=0.0):
    """trl's loss of these pairs, and what it reports of them."""
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    rows = []
    for pair in examples:
        prompt = sum(label == IGNORE_INDEX for label in pair[0]["labels"])
        ids = {"prompt_ids": pair[0]["input_ids"][:prompt]}
        rows.append(ids | {n: one["input_ids"][prompt:] for n, one in zip(("chosen_ids", "rejected_ids"), pair)})
    trainer.loss_types, trainer.label_smoothing = [loss_type], label_smoothing
    loss, seen = trainer.compute_loss(trainer.model, DataCollatorForPreference(TOKENIZER.pad_id)(rows)), {}
    trainer.log(seen)
    return loss, {key.removeprefix("eval_").replace("rewards/", ""): value for key, value in seen.items()}


@needs_trl
def test_losses_rewards_and_gradients_are_those_of_trl(tmp_path):
    policy, reference = decoder(recipe="llama"), decoder(seed=1, recipe="llama")
    examples = [pair_of_answers(*pair, TOKENIZER, 32) for pair in preferences(10)]
    kept = with_reference(reference, examples, TOKENIZER, COMPUTE)
    batches = Padded(kept, TOKENIZER.pad_id, 10, causal=True)
    batch = next(iter(batches))
    trainer = trl_trainer(tmp_path, policy, reference)

    total, pairs = direct_preference(loss_named("dpo", BETA))(policy, batch)
    total.div(pairs).backward()
    theirs, seen = theirs_of(trainer, examples, "sigmoid")
    theirs.backward()
    assert total.item() / pairs == pytest.approx(theirs.item(), abs=1e-6) and abs(theirs.item() - 0.6931) > 0.01
    for mine, other in (("embedding", "model.embed_tokens"), ("head", "lm_head"), ("norm", "model.norm")):
        gradient = trainer.model.get_submodule(other).weight.grad
        torch.testing.assert_close(policy.get_submodule(mine).weight.grad, gradient, atol=1e-6, rtol=1e-4)
    mine = margins(policy, batches, loss_named("dpo", BETA), COMPUTE)
    names = {"margin": "margins", "accuracy": "accuracies", "chosen_reward": "chosen", "rejected_reward": "rejected"}
    names |= {"chosen_logprob": "logps/chosen", "rejected_logprob": "logps/rejected"}
    for name, other in names.items():
        assert mine[name] == pytest.approx(seen[other], abs=1e-5), name

    # trl's IPO takes the mean over an answer's tokens where the paper's equation 17, and ours, takes the sum.
    with torch.no_grad():
        p, r = logprobs_of_batch(policy, batch, average=True), logprobs_of_batch(reference, batch, average=True)
        ipo = ipo_loss(p[0::2], p[1::2], r[0::2], r[1::2], BETA)[0].item()
        ours = ipo_loss(*(logprobs_of_batch(m, batch)[i::2] for m in (policy, reference) for i in (0, 1)), BETA)[
            0
        ].item()
        assert ipo == pytest.approx(theirs_of(trainer, examples, "ipo")[0].item(), rel=1e-5) and ipo != ours

    # Its "sigmoid" knows no label smoothing, and its "robust" subtracts and rescales; "aot", which sorts the ratios of
    # a batch, is Mitchell's equation 3 for a batch of one.
    p, r = logprobs_of_batch(policy, batch).detach(), logprobs_of_batch(reference, batch).detach()
    smooth = [
        dpo_loss(p[i : i + 1], p[i + 1 : i + 2], r[i : i + 1], r[i + 1 : i + 2], BETA, 0.1) for i in range(0, 20, 2)
    ]
    alone = [theirs_of(trainer, [pair], "aot", 0.1)[0].item() for pair in examples]
    assert [loss.item() for loss, _, _ in smooth] == pytest.approx(alone, abs=1e-6)
    clean, swapped = (dpo_loss(p[a::2], p[1 - a :: 2], r[a::2], r[1 - a :: 2], BETA)[0].item() for a in (0, 1))
    robust = theirs_of(trainer, examples, "robust", 0.1)[0].item()
    assert robust == pytest.approx((0.9 * clean - 0.1 * swapped) / 0.8, abs=1e-6)
    assert theirs_of(trainer, examples, "sigmoid", 0.1)[0].item() == pytest.approx(clean, abs=1e-6)
