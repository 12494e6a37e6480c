"""AdaLoRA as in Hugging Face's peft: its numbers, what each rank matters, and which ranks go at which step."""

import torch
from originals import TASK, adapted, batch, close, counterpart, peft, positions, run_ours, run_theirs

from minillm.peft import AdaLoRA, Budget, adapters, freeze, inject, orthogonality
from minillm.training import causal_lm


def adalora_pair(pair, **schedule):
    theirs, ours = pair("llama")
    config = peft.AdaLoraConfig(
        init_r=4, target_r=2, lora_alpha=7, target_modules=["q_proj", "up_proj"], **schedule, **TASK
    )
    theirs = adapted(theirs, config)
    method = AdaLoRA(rank=4, target_rank=2, alpha=7, targets=("query", "up"), rest=0.2, settle=0.2, every=2)
    inject(ours, method)
    found = [(adapter, counterpart(theirs, path, "llama")[0]) for path, adapter in adapters(ours)]
    for adapter, their in found:
        for mine, name in ((adapter.P, "lora_B"), (adapter.E, "lora_E"), (adapter.Q, "lora_A")):
            mine.data.copy_(getattr(their, name).default.view_as(mine))
    return theirs, ours, found


def test_adalora_has_their_logits_gradients_and_pull_towards_orthogonality(pair):
    theirs, ours, found = adalora_pair(pair, total_step=20, tinit=4, tfinal=4, orth_reg_weight=0.3)
    texts = batch("left")
    expected, loss = run_theirs(theirs, texts, position_ids=positions(texts["attention_mask"]))
    freeze(ours)
    total, count = causal_lm(ours, texts)
    (total / count + orthogonality(ours, 0.3)).backward()
    close(ours(texts["input_ids"], texts["attention_mask"])[texts["attention_mask"].bool()], expected)
    close(total / count + orthogonality(ours, 0.3), loss)
    assert float(orthogonality(ours, 0.3).detach()) > 0.1
    for adapter, their in found:
        close(adapter.P.grad, their.lora_B.default.grad)
        close(adapter.E.grad, their.lora_E.default.grad.flatten())
        close(adapter.Q.grad, their.lora_A.default.grad)


def test_adalora_gives_up_their_ranks_in_their_order(pair):
    """20 steps of which 4 rest and 4 settle. Before its last choice peft leaves out the last gradients, which the
    paper's algorithm 1 takes: they are given to it.
    """
    theirs, ours, found = adalora_pair(pair, total_step=20, tinit=4, tfinal=4, deltaT=2, orth_reg_weight=0.0)
    allocator, budget, texts, totals = theirs.base_model.rankallocator, Budget(ours, 20), batch("left"), {}
    freeze(ours)
    where = positions(texts["attention_mask"])
    optimizers = [
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01) for model in (theirs, ours)
    ]
    for step in range(1, 21):
        run_theirs(theirs, texts, position_ids=where)
        run_ours(ours, texts)
        for optimizer in optimizers:
            optimizer.step()
        if step == 16:
            allocator.update_ipt(theirs.base_model.model)
        theirs.base_model.update_and_allocate(step)
        budget(ours, step)
        for optimizer in optimizers:
            optimizer.zero_grad()
        for adapter, their in found:
            close(adapter.E, their.lora_E.default.flatten())
            assert torch.equal(adapter.E == 0, their.lora_E.default.flatten() == 0), step
        if step < 16:
            compare_scores(found, allocator, theirs)
        totals[step] = sum(adapter.rank for adapter, _ in found)
    chosen = {step: budget.ranks(step, 4) for step in (*range(6, 17, 2), *range(17, 21))}
    assert totals == {step: chosen.get(step, 16) for step in range(1, 21)}  # between two choices a rank may come back
    assert sorted(set(chosen.values())) == [8, 9, 10, 12]  # 4 matrices of rank 4, in the end of 2 on average


def compare_scores(found, allocator, theirs):
    names = {id(p): name for name, p in theirs.base_model.model.named_parameters()}
    for adapter, their in found:
        for key, theirs_name in (("P", "lora_B"), ("E", "lora_E"), ("Q", "lora_A")):
            name = names[id(getattr(their, theirs_name).default)]
            for mine, averages in (
                (getattr(adapter, f"importance_{key}"), allocator.exp_avg_ipt),
                (getattr(adapter, f"uncertainty_{key}"), allocator.exp_avg_unc),
            ):
                torch.testing.assert_close(mine, averages[name].view_as(mine), atol=1e-6, rtol=1e-3)
                assert float(mine.max()) > 1e-4
