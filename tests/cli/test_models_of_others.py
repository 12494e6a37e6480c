"""Commands that begin with a model that others made: tiny ones of transformers, with a tokenizer beside them."""

import json
import shutil

import pytest
import torch

from minillm.cli import main
from minillm.hub import Foreign, dtype_of_others, load_causal, load_model, load_tokenizer, source, write_tokenizer
from minillm.system import load_file
from minillm.text import Tokenizer
from minillm.training import RunFolder

transformers = pytest.importorskip("transformers")

STEPS = "--max-steps 4 --eval-every 2 --device cpu".split()
SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
SIZE |= {"max_position_embeddings": 128}


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """A decoder and an encoder in Hugging Face's format, and records."""
    folder = tmp_path_factory.mktemp("others")
    tokenizer = Tokenizer.train([f"is {i} odd: yes or no, a good film" for i in range(50)], 280)
    padded = -(-tokenizer.vocab_size // 64) * 64  # rows of no token, as Qwen's models have
    kinds = ("LlamaForCausalLM", "LlamaConfig", padded), ("BertForMaskedLM", "BertConfig", tokenizer.vocab_size)
    for kind, config, rows in kinds:
        torch.manual_seed(0)
        sizes = SIZE | {"vocab_size": rows}
        model = getattr(transformers, kind)(getattr(transformers, config)(**sizes))
        model.save_pretrained(folder / kind[:4].lower())
        write_tokenizer(tokenizer, folder / kind[:4].lower())
    rows = {
        "chats": [{"prompt": f"is {i} odd", "completion": "yes" if i % 2 else "no"} for i in range(30)],
        "labelled": [{"text": f"{'good' if i % 2 else 'bad'} film {i}", "label": i % 2} for i in range(30)],
        "pairs": [{"text_a": f"a {i}", "text_b": f"b {i}", "label": "xy"[i % 2]} for i in range(30)],
        "alike": [{"text_a": f"a {i}", "text_b": f"b {i}"} for i in range(30)],
        "tagged": [{"tokens": ["good", f"film{i}"], "tags": ["B-X", "O"]} for i in range(30)],
        "preferences": [{"prompt": f"is {i} odd", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(30)],
        "text": [{"text": f"is {i} odd: yes or no, and is {i + 1} a good film number"} for i in range(80)],
    }
    for name, some in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    return folder


def tune(others, command, model, data, out, *flags):
    data, begin = str(others / f"{data}.jsonl"), str(others / model)
    return main([command, "--data", data, "--from", begin, *STEPS, *flags, "--out", str(out)])


@pytest.mark.parametrize(
    ("command", "model", "data"),
    [
        ("sft", "llam", "chats"),
        ("reward", "llam", "preferences"),
        ("dpo", "llam", "preferences"),
        ("classify", "llam", "labelled"),
        ("classify", "bert", "labelled"),
        ("pair", "bert", "pairs"),
        ("tag", "bert", "tagged"),
        ("encode", "bert", "alike"),
        ("pretrain", "llam", "text"),
        ("mlm", "bert", "text"),
    ],
)
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_command_tunes_it_and_its_run_is_loaded_again(others, tmp_path, command, model, data, method):
    if command in ("pretrain", "mlm"):
        flags = ["--context", "8"] if method == "full" else ["--recompute", "--context", "8"]
    else:
        flags = ["--method", method, "--dtype", "bf16" if method == "lora" else "fp32"]
    assert tune(others, command, model, data, tmp_path / "run", *flags) == 0
    run = RunFolder(tmp_path / "run")
    assert run.finished and load_model(run)
    assert run.adapter_file.exists() == (method == "lora" and command not in ("pretrain", "mlm"))


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_it_learns_from_a_reward_model_on_it_and_from_one_that_others_opened(others, tmp_path, algorithm):
    assert tune(others, "reward", "llam", "preferences", tmp_path / "judge") == 0
    assert main(["export", "--from", str(tmp_path / "judge"), "--out", str(tmp_path / "judge-hf")]) == 0
    shutil.copy(others / "llam" / "generation_config.json", tmp_path / "judge-hf")  # which says what ends a text
    rows = [{"prompt": f"is {i} odd"} for i in range(20)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    begin = ["--from", str(others / "llam"), "--data", str(tmp_path / "prompts.jsonl"), "--template", "zephyr"]
    size = "--rounds 2 --batch-size 4 --minibatch-size 4 --max-new-tokens 4 --device cpu --dtype fp32".split()
    more = ["--method", "lora"] if algorithm == "ppo" else ["--algorithm", "grpo", "--group-size", "2"]
    found = []
    for judge in ("judge", "judge-hf"):
        flags = ["--reward", str(tmp_path / judge), *size, *more, "--out", str(tmp_path / f"{judge}-{algorithm}")]
        assert main(["ppo", *begin, *flags]) == 0
        run = RunFolder(tmp_path / f"{judge}-{algorithm}")
        assert run.finished and load_model(run)
        found.append([record["loss"] for record in run.records() if "loss" in record])
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_frozen_weights_are_in_half_precision_and_what_learns_is_not(others, tmp_path, monkeypatch):
    seen = []
    from minillm.cli import life

    fit = life.fit
    monkeypatch.setattr(life, "fit", lambda model, *more, **named: seen.append(model) or fit(model, *more, **named))
    for model, command, data in (("llam", "sft", "chats"), ("bert", "classify", "labelled")):
        flags = ["--method", "lora", "--dtype", "bf16", "--recompute"]
        assert tune(others, command, model, data, tmp_path / command, *flags) == 0
        own = {p.requires_grad: p.dtype for p in seen[-1].parameters()}
        assert own == {True: torch.float32, False: torch.bfloat16}
        kept = load_file(tmp_path / command / "adapter.safetensors")[0]
        assert {tensor.dtype for tensor in kept.values()} == {torch.float32}
    assert tune(others, "sft", "llam", "chats", tmp_path / "full", "--dtype", "bf16") == 0
    assert {p.dtype for p in seen[-1].parameters()} == {torch.float32}


def test_an_adapter_on_it_resumes_stands_on_it_and_is_merged_and_exported(others, tmp_path, capsys):
    run = tmp_path / "run"
    assert tune(others, "sft", "llam", "chats", run, "--method", "lora", "--dtype", "fp32") == 0
    for flags in (["merge", "--out", str(tmp_path / "merged")], ["export", "--out", str(tmp_path / "peft")]):
        assert main([flags[0], "--from", str(run), *flags[1:]]) == 0
    ids = torch.arange(9)[None]
    ours = load_model(run)(ids)
    assert torch.allclose(load_model(tmp_path / "merged")(ids), ours, atol=1e-5)
    peft = pytest.importorskip("peft")
    base = transformers.AutoModelForCausalLM.from_pretrained(others / "llam")
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "peft")
    assert torch.allclose(theirs(ids).logits, ours, atol=1e-5)
    assert dtype_of_others(RunFolder(run), torch.bfloat16) == torch.bfloat16
    assert dtype_of_others(RunFolder(tmp_path / "merged"), torch.bfloat16) is None
    half = {name: p.dtype for name, p in load_causal(RunFolder(run), dtype=torch.bfloat16).named_parameters()}
    assert {dtype for name, dtype in half.items() if name.endswith((".A", ".B"))} == {torch.float32}
    assert {dtype for name, dtype in half.items() if not name.endswith((".A", ".B"))} == {torch.bfloat16}


def test_it_generates_and_is_scored_and_what_it_cannot_do_is_said(others, tmp_path, capsys):
    begin = ["--from", str(others / "llam"), "--device", "cpu"]
    assert main(["generate", *begin, "--prompt", "is 3", "--max-new-tokens", "4"]) == 0
    (tmp_path / "t.txt").write_text("is 3 odd: yes or no")
    assert main(["eval", *begin, "--data", str(tmp_path / "t.txt")]) == 0
    assert isinstance(source(others / "llam"), Foreign) and not isinstance(source(tmp_path), Foreign)
    capsys.readouterr()
    for flags, said in (
        (["predict", *begin, "--text", "x"], "holds a model without a head of ours: tune it first"),
        (["generate", "--from", str(others / "bert")], "an Encoder, which reads both ways and writes none"),
        (["mlm", *begin, "--data", str(others / "text.jsonl")], "a Decoder: mlm goes on from a run of mlm"),
        (["merge", *begin[:2]], "holds no adapter: its weights are whole already"),
    ):
        assert main(flags) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1


def test_a_tagger_that_marks_entities_by_i_alone_is_scored_as_the_records_are_read(others, tmp_path, capsys):
    tokenizer, names = load_tokenizer(source(others / "bert")), ["O", "I-X"]
    sizes = SIZE | {"vocab_size": tokenizer.vocab_size, "id2label": dict(enumerate(names))}
    sizes |= {"label2id": {name: i for i, name in enumerate(names)}}
    model = transformers.BertForTokenClassification(transformers.BertConfig(**sizes))
    torch.nn.init.zeros_(model.classifier.weight)
    model.classifier.bias.data.copy_(torch.tensor([0.0, 1.0]))  # every word is part of an entity
    model.save_pretrained(tmp_path / "tagger")
    write_tokenizer(tokenizer, tmp_path / "tagger")
    data = tmp_path / "a.conll"
    data.write_text("good I-X\nfilm I-X\n\nfilm I-X\n\nno I-X\nfilm O\n")
    assert main(["eval", "--from", str(tmp_path / "tagger"), "--data", str(data)]) == 0
    said = capsys.readouterr()
    scores = json.loads(said.out)
    assert (scores["f1"], scores["accuracy"]) == (pytest.approx(2 / 3), 4 / 5) and "never learned" not in said.err
