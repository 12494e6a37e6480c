"""What a run says at its end: the numbers that one wants, in units that are named, and advice where they are bad."""

import json
import math
from collections import Counter
from pathlib import Path

import pytest
import sacrebleu
from rouge_score import rouge_scorer

from minillm.cli import main, pretrain
from minillm.cli.advice import advice
from minillm.data import read_conversations
from minillm.hub import load_model
from minillm.inference import Question, questions_of, right, summary
from minillm.text import Tokenizer

TINY = "--depth 1 --width 16 --heads 1 --vocab-size 280 --max-steps 6 --dtype fp32 --device cpu".split()
STEPS = "--max-steps 4 --dtype fp32 --device cpu".split()
PAIRS = [{"prompt": f"say {i}", "chosen": f"you are {i}", "rejected": f"bad {i}"} for i in range(24)]


def write(path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def metrics(run) -> dict:
    return json.loads((Path(run) / "metrics.json").read_text())


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Pictures take most of the time of so short a run."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, content, **_: content.write(b"no picture"))


@pytest.mark.parametrize("documents", ["blank-line", "file"])
@pytest.mark.parametrize("tokenizer", ["characters", "bpe"])
def test_all_that_a_picture_of_a_text_compares_is_measured_on_the_same_tokens(
    documents, tokenizer, tmp_path, monkeypatch
):
    """By a slow loop over the pairs of tokens: of a bigram the loss depends on nothing else."""
    texts = {"train": [f"say {i} good things {i * i}" for i in range(60)]}
    texts["valid"] = [f"say {i} good things, or {i} bad" for i in range(40)]
    for part, some in texts.items():
        (tmp_path / f"{part}.txt").write_text("\n\n".join(some))
    drawn, draw = [], pretrain.loss_curve
    monkeypatch.setattr(pretrain, "loss_curve", lambda *given: drawn.append(draw(*given)))
    flags = f"--documents {documents} --tokenizer {tokenizer} --vocab-size 300 --context 8 --batch-size 2 --max-steps 4"
    files = ["--data", str(tmp_path / "train.txt"), "--valid", str(tmp_path / "valid.txt"), "--eval-every", "2"]
    assert main(["bigram", *files, *flags.split(), "--dtype", "fp32", "--out", str(tmp_path / "run")]) == 0

    own, pairs = Tokenizer.load(tmp_path / "run" / "tokenizer.json"), {}
    for part, some in texts.items():
        if documents == "file":
            rows = [own.encode("\n\n".join(some))]
        else:
            rows = [[own.bos_id, *own.encode(text), own.eos_id] for text in some]
        pairs[part] = [pair for row in rows for pair in zip(row, row[1:])]
    counts, begun = Counter(pairs["train"]), Counter(a for a, _ in pairs["train"])
    size, number = own.vocab_size, len(pairs["valid"])
    counted = sum(-math.log((counts[a, b] + 0.01) / (begun[a] + 0.01 * size)) for a, b in pairs["valid"]) / number
    table = load_model(tmp_path / "run").table.weight.double().log_softmax(-1)
    learned = sum(-table[a, b].item() for a, b in pairs["valid"]) / number
    found = metrics(tmp_path / "run")
    assert found["bigram_loss"] == pytest.approx(counted, rel=1e-5)
    assert found["val_loss"] == pytest.approx(learned, rel=1e-5) and found["floor"] is None

    lines = {line.get_label(): line.get_ydata() for line in drawn[0].lines}
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert lines.keys() == {
        "training (smoothed)",
        "validation, a sample",
        f"validation, all {learned:.3f}",
        f"bigram {counted:.3f}",
    }
    assert list(lines[f"bigram {counted:.3f}"]) == [found["bigram_loss"]] * 2
    assert list(lines[f"validation, all {learned:.3f}"]) == [found["val_loss"]]
    assert list(lines["validation, a sample"]) == [row["val_loss"] for row in log if "val_loss" in row]
    assert abs(lines["validation, a sample"][-1] - found["val_loss"]) > 1e-4  # another part of the text


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Runs of pretrain and of sft, and a file of pairs."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "text.txt").write_text("\n\n".join(f"say something kind, number {i}: you are good" for i in range(100)))
    chats = write(folder / "chats.jsonl", [{"prompt": p["prompt"], "completion": p["chosen"]} for p in PAIRS])
    write(folder / "pairs.jsonl", PAIRS)
    assert main(["pretrain", "--data", str(folder / "text.txt"), *TINY, "--out", str(folder / "pretrain")]) == 0
    flags = ["--data", chats, "--from", str(folder / "pretrain"), *STEPS]
    assert main(["sft", *flags, "--out", str(folder / "sft")]) == 0
    return folder


def test_dpo_says_accuracy_and_margin_on_test_and_on_validation(base, tmp_path, capsys):
    train, valid, test = (
        write(tmp_path / f"{n}.jsonl", PAIRS[a:b]) for n, a, b in (("t", 0, 12), ("v", 12, 20), ("e", 20, 24))
    )
    flags = ["--data", train, "--valid", valid, "--test", test, "--from", str(base / "sft"), *STEPS]
    assert main(["dpo", *flags, "--eval-every", "1", "--out", str(tmp_path / "dpo")]) == 0
    found, said = metrics(tmp_path / "dpo"), capsys.readouterr().out
    logged = [json.loads(line) for line in (tmp_path / "dpo" / "log.jsonl").read_text().splitlines()]
    best = logged[found["best_step"] - 1]
    assert found["valid_accuracy"] == pytest.approx(best["accuracy"])
    assert found["valid_margin"] == pytest.approx(best["margin"], abs=1e-5)
    assert found["accuracy"] in (0, 0.25, 0.5, 0.75, 1) and found["margin"] != found["valid_margin"]
    for name in ("accuracy", "margin", "valid_accuracy", "valid_margin"):
        assert f"{name} {found[name]:.3f}" in said
    assert found["baselines"]["the longer answer"]["accuracy"] == 1.0


def test_a_reward_run_is_asked_by_predict_and_by_eval(base, tmp_path, capsys):
    run, pairs = tmp_path / "reward", str(base / "pairs.jsonl")
    assert main(["reward", "--data", pairs, "--from", str(base / "sft"), *STEPS, "--out", str(run)]) == 0
    capsys.readouterr()
    assert main(["eval", "--from", str(run), "--dtype", "fp32"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["accuracy"] == metrics(run)["accuracy"] and scores["confidence"] == metrics(run)["confidence"]
    told = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    rows = [{"prompt": row["prompt"], "answer": row[side]} for row in told for side in ("chosen", "rejected")]
    data = write(tmp_path / "asked.jsonl", rows)
    assert main(["predict", "--from", str(run), "--data", data, "--dtype", "fp32"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = [row[f"{side}_reward"] for row in told for side in ("chosen", "rejected")]
    assert [row["reward"] for row in answers] == pytest.approx(expected, abs=2e-4)
    assert main(["predict", "--from", str(run), "--text", told[0]["prompt"], "--second", told[0]["chosen"]]) == 0
    assert json.loads(capsys.readouterr().out)["reward"] == pytest.approx(expected[0], abs=2e-4)
    assert main(["predict", "--from", str(run), "--text", "say"]) == 2
    assert "--text and --second" in capsys.readouterr().err


def test_eval_of_a_pair_run_is_its_accuracy_again(tmp_path, capsys):
    flags = ["--examples", "40", "--max-steps", "2", *TINY[:8], "--device", "cpu", "--dtype", "fp32"]
    assert main(["pair", *flags, "--out", str(tmp_path / "pair")]) == 0
    capsys.readouterr()
    assert main(["eval", "--from", str(tmp_path / "pair"), "--dtype", "fp32"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == metrics(tmp_path / "pair")["accuracy"]


def test_an_answer_is_held_against_the_best_of_its_references():
    several = Question([{"role": "user", "content": "2 + 2?"}], "It is four.", "", ("four", "4 it is"))
    said = ["four", "It  is four.", "it is 4"]
    assert [right(several, answer) for answer in said] == [True, True, False]
    questions = [several] * 3
    scores = summary(questions, said)
    rouge = rouge_scorer.RougeScorer(["rougeL"])
    best = [max(rouge.score(r, answer)["rougeL"].fmeasure for r in several.references) for answer in said]
    assert scores["rouge_l"] == pytest.approx(sum(best) / 3)
    transposed = [[reference] * 3 for reference in several.references]
    assert scores["bleu"] == pytest.approx(sacrebleu.corpus_bleu(said, transposed).score)
    assert scores["exact_match"] == pytest.approx(2 / 3)


def test_references_are_read_and_the_first_answer_is_learned(tmp_path, capsys):
    rows = [
        {"instruction": "Hi", "output": ["Hello.", "Good day."]},
        {"prompt": "Hi", "completion": "Hello.", "references": ["Hey."]},
        {"prompt": "Hi", "completion": ["Hello."], "references": "Hey."},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}], "references": []},
    ]
    records = read_conversations(Path(write(tmp_path / "a.jsonl", rows)))
    assert {record.texts for record in records} == {("Hi", "Hello.")}
    assert [record.references for record in records] == [("Good day.",), ("Hey.",), ("Hey.",), ()]
    asked = questions_of([{"messages": r.messages, "references": r.references} for r in records])
    assert asked[0].references == ("Hello.", "Good day.")
    path = Path(write(tmp_path / "b.jsonl", [*rows, {"prompt": "Hi", "completion": "Hello.", "references": [3]}]))
    assert len(read_conversations(path)) == len(rows)
    assert 'b.jsonl:5: expected "references" to be a list of answers' in capsys.readouterr().err


def test_sft_reports_bleu_and_takes_several_references(base, tmp_path, capsys):
    rows = [{"prompt": p["prompt"], "completion": [p["chosen"] + " now", "you"]} for p in PAIRS]
    flags = ["--data", write(tmp_path / "a.jsonl", rows), "--from", str(base / "pretrain"), *STEPS]
    assert main(["sft", *flags, "--out", str(tmp_path / "run")]) == 0
    found = metrics(tmp_path / "run")
    assert 0 <= found["bleu"] <= 100 and f"bleu {found['bleu']:.3f}" in capsys.readouterr().out


UNITS = {
    "classify": ("texts", [{"text": f"{'good' if i % 2 else 'bad'} {i}", "label": i % 2} for i in range(30)]),
    "pair": ("pairs", [{"text_a": f"a {i}", "text_b": f"b {i}", "label": i % 2} for i in range(30)]),
    "tag": ("words", [{"tokens": ["Mira", f"x{i}"], "tags": ["B-PER", "O"]} for i in range(30)]),
    "encode": ("batches", [{"text_a": f"a {i}", "text_b": f"b {i}"} for i in range(30)]),
}


@pytest.mark.parametrize("stage", UNITS)
def test_speed_has_the_name_of_what_is_counted(stage, tmp_path, capsys):
    unit, rows = UNITS[stage]
    flags = ["--data", write(tmp_path / "a.jsonl", rows), *TINY, "--max-steps", "5", "--batch-size", "4"]
    assert main([stage, *flags, "--out", str(tmp_path / "run")]) == 0
    found = metrics(tmp_path / "run")
    each = {"texts": 4, "pairs": 4, "words": 8, "batches": 1}[unit]
    assert found[unit] == 5 * each and found[f"{unit}_per_second"] > 0
    assert found["tokens"] is None and found["tokens_per_second"] is None
    assert f"{unit}/s" in capsys.readouterr().err


def test_rates_that_teach_nothing_are_named_and_the_exit_status_is_0(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("\n\n".join(f"The hen number {i} sat by the pond." for i in range(60)))
    flags = ["--data", str(tmp_path / "a.txt"), *TINY, "--context", "16", "--max-steps", "12", "--eval-every", "12"]
    wild = ["--learning-rate", "1e3", "--head-learning-rate", "1e3"]
    assert main(["pretrain", *flags, *wild, "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out.strip().splitlines()[-1]
    assert metrics(tmp_path / "run")["val_loss"] > math.log(280)
    assert said.startswith("advice: this run has learned nothing") and "ln 280 = 5.635" in said
    assert main(["pretrain", *flags, "--out", str(tmp_path / "other")]) == 0
    assert "learned nothing" not in capsys.readouterr().out


def test_a_score_below_a_baseline_is_said_and_one_above_is_not():
    low = {"majority": {"accuracy": 0.5}, "words": {"accuracy": 0.7}}
    said = advice(0.5, 2, {"accuracy": 0.6}, low, ["accuracy"])
    assert said.startswith("accuracy is 0.600, below the 0.700 of the baseline (words)") and said.count(".\n") == 0
    assert advice(0.5, 2, {"accuracy": 0.8}, low, ["accuracy"]) == ""
    assert advice(0.70, 2).startswith("this run has learned nothing: its loss, 0.700, is above ln 2 = 0.693")
    assert advice(0.69, 2) == "" == advice(None, 2) == advice(5.0, None)
    assert advice(0.1, 9, {"f1": None}, {"words": {"f1": 0.3}}, ["f1"]) == ""
