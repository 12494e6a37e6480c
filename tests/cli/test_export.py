"""Runs as other programs read them: the same numbers there, all or nothing, and a sentence for what has no home."""

import json

import pytest
import torch

from minillm.cli import main
from minillm.hub import load, load_model, load_tokenizer

transformers = pytest.importorskip("transformers")

SIZE = "--depth 2 --width 16 --heads 2 --vocab-size 280 --max-steps 3 --dtype fp32 --device cpu".split()
TUNE = "--max-steps 4 --eval-every 2 --dtype fp32 --device cpu".split()
IDS = torch.arange(12)[None] * 7 % 250


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of every kind, by name."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text("\n\n".join(f"a good film, number {i}, is odd: yes or no" for i in range(200)))
    rows = [{"prompt": f"is {i} odd", "completion": "yes" if i % 2 else "no"} for i in range(30)]
    (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"text": f"{'good' if i % 2 else 'bad'} film {i}", "label": i % 2} for i in range(30)]
    (folder / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for recipe in ("llama", "llama-tied", "gpt2", "minillm"):
        make(folder, "pretrain", recipe, "text.txt", *SIZE, "--recipe", recipe)
    make(folder, "mlm", "bert", "text.txt", *SIZE, "--recipe", "bert")
    tuned = ["--from", str(folder / "llama"), *TUNE]
    lora = ["--method", "lora", "--adapter-learning-rate", "0.1"]
    make(folder, "sft", "lora", "c.jsonl", *tuned, *lora)
    make(folder, "sft", "beside", "c.jsonl", *tuned, *lora, "--also", "norm")
    make(folder, "sft", "prefix", "c.jsonl", *tuned, "--method", "prefix")
    make(folder, "classify", "scored", "labelled.jsonl", *tuned, *lora)
    return folder


def make(folder, command, name, data, *flags):
    assert main([command, "--data", str(folder / data), *flags, "--out", str(folder / name)]) == 0


@pytest.mark.parametrize("recipe", ["llama", "llama-tied", "gpt2"])
def test_transformers_computes_the_logits_of_a_run(runs, tmp_path, recipe):
    assert main(["export", "--from", str(runs / recipe), "--out", str(tmp_path / "out")]) == 0
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        ours = load_model(runs / recipe)(IDS)
        assert (theirs(IDS).logits - ours).abs().max() < 1e-5 * ours.abs().max()
    assert torch.equal(load_model(tmp_path / "out")(IDS), ours)


def test_transformers_computes_what_an_encoder_restores(runs, tmp_path):
    assert main(["export", "--from", str(runs / "bert"), "--out", str(tmp_path / "out")]) == 0
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        ours = load_model(runs / "bert")(IDS)
        assert (theirs(IDS).logits - ours).abs().max() < 1e-5 * ours.abs().max()


def test_its_tokenizer_goes_with_it(runs, tmp_path):
    for form in ("hf", "gguf"):
        more = ["--gguf-type", "F32"] if form == "gguf" else []
        assert main(["export", "--from", str(runs / "llama"), "--to", form, *more, "--out", str(tmp_path / form)]) == 0
    tokenizer = load_tokenizer(runs / "llama")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    text = "a good film, number 7 \u00e9\u4e2d"
    ids = tokenizer.encode(text)
    assert theirs(text, add_special_tokens=False)["input_ids"] == ids
    for path in (tmp_path / "hf", tmp_path / "gguf" / "model.gguf"):
        model, own = load(path)
        assert own.encode(text) == ids
        with torch.no_grad():
            assert (model(IDS) - load_model(runs / "llama")(IDS)).abs().max() < 1e-5
    there = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "gguf", gguf_file="model.gguf")
    with torch.no_grad():
        assert (there(IDS).logits - model(IDS)).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["lora", "beside"])
def test_an_adapter_is_merged(runs, tmp_path, name):
    assert main(["export", "--from", str(runs / name), "--merge", "--out", str(tmp_path / "out")]) == 0
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        ours = load_model(runs / name)(IDS)
        assert (ours - load_model(runs / "llama")(IDS)).abs().max() > 1e-3  # it has learned something
        assert (theirs(IDS).logits - ours).abs().max() < 1e-5 * ours.abs().max()


def test_a_lora_goes_to_peft_and_its_base_to_transformers(runs, tmp_path):
    peft = pytest.importorskip("peft")
    for name in ("llama", "lora"):
        assert main(["export", "--from", str(runs / name), "--out", str(tmp_path / name)]) == 0
    assert not list((tmp_path / "lora").glob("model*"))
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "llama")
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "lora")
    with torch.no_grad():
        ours = load_model(runs / "lora")(IDS)
        assert (theirs(IDS).logits - ours).abs().max() < 1e-5 * ours.abs().max()


@pytest.mark.parametrize(
    ("name", "flags", "said"),
    [
        ("minillm", [], "this Decoder of recipe minillm has no Hugging Face counterpart"),
        ("prefix", [], "(prefix) on blocks.0.attention.attend is no LoRA"),
        ("prefix", ["--merge"], "is no change of weights and cannot be merged"),
        ("beside", [], "what learned beside the adapter has no place in peft's file: add --merge"),
        ("scored", [], "what learned beside the adapter has no place in peft's file: add --merge"),
        ("lora", ["--to", "gguf"], "a GGUF file holds a whole model: add --merge"),
        ("llama", ["--merge"], "--merge has no use here"),
        ("nothing", [], "holds no run: there is no such folder"),
    ],
)
def test_what_has_no_home_is_refused_in_a_sentence_and_nothing_is_left(runs, tmp_path, capsys, name, flags, said):
    assert main(["export", "--from", str(runs / name), *flags, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone_and_an_empty_one_is_taken(runs, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    assert main(["export", "--from", str(runs / "llama"), "--out", str(tmp_path / "full")]) == 2
    assert "there is something in this folder already" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    assert main(["export", "--from", str(runs / "llama"), "--out", str(tmp_path / "empty")]) == 0
    assert (tmp_path / "empty" / "config.json").exists() and len(list(tmp_path.iterdir())) == 2
    assert main(["export"]) == 2


LOGITS = {  # a trained head -> what reads it there
    "scored": "AutoModelForSequenceClassification",
    "sorted": "AutoModelForSequenceClassification",
    "paired": "AutoModelForSequenceClassification",
    "bert-sorted": "AutoModelForSequenceClassification",
    "bert-paired": "AutoModelForSequenceClassification",
    "bert-tagged": "AutoModelForTokenClassification",
    "llama-tagged": "AutoModelForTokenClassification",
    "rewarding": "AutoModelForSequenceClassification",
}


@pytest.fixture(scope="module")
def heads(runs):
    """Runs of heads on trunks that others know, full and with an adapter, in the folder of `runs`."""
    films = [f"{'good' if i % 2 else 'bad'} film {i}" for i in range(30)]
    forms = {
        "pairs": [{"text_a": text, "text_b": "a film", "label": text[:4].strip()} for text in films],
        "tags": [{"tokens": text.split(), "tags": ["B-X", "O", "O"]} for text in films],
        "answers": [{"prompt": text, "chosen": "yes", "rejected": "no"} for text in films],
    }
    for name, rows in forms.items():
        (runs / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for trunk, start in (("", "llama"), ("bert-", "bert")):
        tuned = ["--from", str(runs / start), *TUNE, "--learning-rate", "0.1"]
        make(runs, "classify", f"{trunk}sorted", "labelled.jsonl", *tuned)
        make(runs, "pair", f"{trunk}paired", "pairs.jsonl", *tuned)
        make(runs, "tag", f"{trunk or 'llama-'}tagged", "tags.jsonl", *tuned)
    make(runs, "reward", "rewarding", "answers.jsonl", "--from", str(runs / "lora"), *TUNE)
    return runs


@pytest.mark.parametrize("name", LOGITS)
def test_transformers_computes_the_logits_of_a_head_and_predict_reads_it_back(heads, tmp_path, capsys, name):
    merge = ["--merge"] if name == "scored" else []
    assert main(["export", "--from", str(heads / name), *merge, "--out", str(tmp_path / "out")]) == 0
    theirs = getattr(transformers, LOGITS[name]).from_pretrained(tmp_path / "out")
    ours, there = load_model(heads / name), load_model(tmp_path / "out")
    with torch.no_grad():
        logits = theirs(IDS).logits
        expected = ours(IDS)
        logits = logits[:, 0] if name == "rewarding" else logits
        assert expected.abs().max() > 1e-4  # the head has learned something
        assert (logits - expected).abs().max() < 1e-5 * expected.abs().max()
        assert (there(IDS) - expected).abs().max() < 1e-5 * expected.abs().max()
    asked = ["--text", "good film 7", *(["--second", "a film"] if "pair" in name or name == "rewarding" else [])]
    capsys.readouterr()
    for folder in (heads / name, tmp_path / "out"):
        assert main(["predict", "--from", str(folder), "--dtype", "fp32", *asked]) == 0
    one, other = map(json.loads, capsys.readouterr().out.splitlines())
    assert one == other


def test_eval_scores_an_exported_head_as_it_scores_the_run(heads, tmp_path, capsys):
    for name, data in (("bert-sorted", "labelled"), ("bert-paired", "pairs"), ("bert-tagged", "tags")):
        assert main(["export", "--from", str(heads / name), "--out", str(tmp_path / name)]) == 0
        capsys.readouterr()
        found = []
        for folder in (heads / name, tmp_path / name):
            data_file = str(heads / f"{data}.jsonl")
            assert main(["eval", "--from", str(folder), "--data", data_file, "--dtype", "fp32"]) == 0
            found.append(capsys.readouterr().out)
        assert found[0] == found[1]
    assert main(["eval", "--from", str(tmp_path / "bert-sorted")]) == 2
    assert "bring labelled records" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "fields"), [("bert-sorted", ("text",)), ("bert-paired", ("text_a", "text_b"))])
def test_a_table_without_a_header_is_one_text_or_two_by_its_columns_beside_the_label(
    heads, tmp_path, capsys, name, fields
):
    assert main(["export", "--from", str(heads / name), "--out", str(tmp_path / name)]) == 0
    rows = [(*(f"{'good' if i % 2 else 'bad'} film {i}", "a film")[: len(fields)], i % 2) for i in range(8)]
    word = ("bad", "good") if len(fields) == 2 else (0, 1)
    rows = [(*texts, word[label]) for *texts, label in rows]
    lines = ["\t".join(map(str, row)) for row in rows]
    (tmp_path / "bare.tsv").write_text("\n".join(lines))
    (tmp_path / "named.tsv").write_text("\n".join(["\t".join((*fields, "label")), *lines]))
    found = []
    for file in ("bare", "named"):
        capsys.readouterr()
        assert main(["eval", "--from", str(tmp_path / name), "--data", str(tmp_path / f"{file}.tsv")]) == 0
        said = capsys.readouterr()
        assert said.err.count("has no header") == (file == "bare")
        found.append(said.out)
    assert found[0] == found[1] and '"accuracy"' in found[0]
