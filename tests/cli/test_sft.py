"""Instruction tuning: which tokens are learned, rows that hold several conversations, and the stage from end to end."""

import copy
import json
from pathlib import Path

import pytest
import sacrebleu
import torch
from torch.testing import assert_close

from minillm.cli import build, main
from minillm.cli.sft import SFT, SFTSettings
from minillm.data import IGNORE_INDEX, Padded, chat_example, pack, read_conversations
from minillm.hub import load_model
from minillm.inference import Question, ask, ask_base, plain, questions_of, summary
from minillm.inference.answering import scores_by_kind
from minillm.models import RECIPES, Decoder, ModelConfig
from minillm.system import pick_device
from minillm.text import Tokenizer
from minillm.training import RunFolder, TrainConfig, causal_lm, causal_lm_loss, fit, mean_loss, trainer

PLACE = pick_device("cpu", "fp32")
TOKENIZER = Tokenizer.characters("abcdefghijklmnopqrstuvwxyz ?\n")
CHAT = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "who?"},
    {"role": "assistant", "content": "me"},
    {"role": "user", "content": "why?"},
    {"role": "assistant", "content": "so"},
]


def chat(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def model_of(recipe="minillm", **other):
    torch.manual_seed(0)
    config = ModelConfig(TOKENIZER.vocab_size, 48, layers=2, width=32, heads=2, recipe=recipe, **other)
    model = Decoder(config).eval()
    for p in model.parameters():  # branches begin at zero, and would hide what they see
        p.data += 0.1 * torch.randn_like(p)
    return model


def examples(lengths=((3, 2), (9, 1), (1, 5), (4, 4), (6, 3), (2, 2))):
    generator = torch.Generator().manual_seed(1)
    letters = lambda n: "".join(chr(97 + i) for i in torch.randint(26, (n,), generator=generator).tolist())  # noqa: E731
    return [chat_example(chat(letters(q), letters(a)), TOKENIZER, 48) for q, a in lengths]


def test_golden_mask_every_token_of_one_conversation():
    example = chat_example(CHAT, TOKENIZER, 64)
    pieces = TOKENIZER.pieces(example["input_ids"])
    learned = [label != IGNORE_INDEX for label in example["labels"]]
    golden = (
        "<|bos|> <|system|> b e _ k i n d <|user|> w h o ? <|assistant|> +m +e +<|eos|> "
        "<|user|> w h y ? <|assistant|> +s +o +<|eos|>"
    ).split()
    assert ["+" * on + piece.replace(" ", "_") for piece, on in zip(pieces, learned)] == golden
    assert all(label in (i, IGNORE_INDEX) for i, label in zip(example["input_ids"], example["labels"]))
    assert TOKENIZER.pad_id != TOKENIZER.eos_id


def test_what_does_not_fit_is_cut_and_counted_and_a_prompt_that_fills_the_context_has_no_label():
    assert chat_example(CHAT, TOKENIZER, 17)["cut"] == 27 - 17
    assert chat_example(CHAT, TOKENIZER, 17)["labels"][-2:] == TOKENIZER.encode("me")
    assert set(chat_example(CHAT, TOKENIZER, 9)["labels"]) == {IGNORE_INDEX}


def test_prompt_tokens_have_exactly_no_weight_in_the_loss():
    model = model_of()
    batch = next(iter(Padded(examples(), TOKENIZER.pad_id, 6)))
    mask, labels = batch["attention_mask"], batch["labels"]
    logits = model(batch["input_ids"], mask).detach().requires_grad_()
    causal_lm_loss(logits, labels).backward()
    predicts = torch.zeros_like(labels, dtype=torch.bool)
    predicts[:, :-1] = labels[:, 1:] != IGNORE_INDEX
    assert (logits.grad[~predicts] == 0).all() and (logits.grad[predicts].abs().sum(-1) > 0).all()
    assert predicts.sum() == sum(label != IGNORE_INDEX for e in examples() for label in e["labels"])


@pytest.mark.parametrize("recipe", sorted(set(RECIPES) - {"bert"}))
def test_packed_conversations_cost_what_they_cost_one_at_a_time(recipe):
    model = model_of(recipe)
    alone = [causal_lm(model, batch) for batch in Padded(examples(), TOKENIZER.pad_id, 1)]
    rows = pack(examples(), 30)
    assert len(rows) < len(alone) and max(max(row["attention_mask"]) for row in rows) > 1
    together = [causal_lm(model, batch) for batch in Padded(rows, TOKENIZER.pad_id, 2)]
    assert_close(sum(t for t, _ in together), sum(t for t, _ in alone), rtol=1e-5, atol=1e-5)
    assert sum(n for _, n in together) == sum(n for _, n in alone)
    gradients = []
    for parts in (alone, together):
        model.zero_grad()
        sum(t for t, _ in parts).backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)


def test_a_text_in_a_packed_row_does_not_see_its_neighbours():
    model = model_of()
    row = pack(examples(), 48)[0]
    ids, mask = torch.tensor([row["input_ids"]]), torch.tensor([row["attention_mask"]])
    other = ids.clone()
    other[mask == 1] = TOKENIZER.encode("z")[0]
    before, after = model(ids, mask), model(other, mask)
    assert_close(before[mask != 1], after[mask != 1])
    assert not torch.allclose(before[mask == 1], after[mask == 1])


def test_rows_hold_every_example_once_and_no_more_than_fits():
    many = examples([(q, a) for q in range(1, 12) for a in range(1, 6)])
    rows = pack(many, 40)
    assert all(len(row["input_ids"]) == len(row["attention_mask"]) <= 40 for row in rows)
    texts = []
    for row in rows:
        for number in range(1, max(row["attention_mask"]) + 1):
            texts.append([i for i, n in zip(row["input_ids"], row["attention_mask"]) if n == number])
    assert sorted(texts) == sorted(example["input_ids"] for example in many)
    assert len(rows) <= 1.1 * sum(map(len, texts)) / 40 + 1
    assert pack([], 10) == []


def test_padding_behind_a_text_needs_no_mask_in_a_causal_model():
    model = model_of()
    masked, plain_ = (next(iter(Padded(examples(), TOKENIZER.pad_id, 6, causal=causal))) for causal in (False, True))
    assert "attention_mask" in masked and "attention_mask" not in plain_
    assert_close(causal_lm(model, masked)[0], causal_lm(model, plain_)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [2, 3, 6])
def test_micro_batches_of_ragged_conversations_add_up_to_the_whole(size):
    start = model_of()
    moved = []
    for batch_size in (6, size):
        model = copy.deepcopy(start)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        batches = Padded(examples(), TOKENIZER.pad_id, batch_size, causal=True)
        config = TrainConfig(
            steps=1, accumulate=6 // batch_size, warmup=0, decay="constant", clip=0, device="cpu", dtype="fp32"
        )
        fit(model, causal_lm, batches, config, optimizer=optimizer, progress=False)
        moved.append(model.state_dict())
    assert_close(moved[0], moved[1], rtol=1e-5, atol=1e-6)


def test_a_batch_without_labels_costs_nothing_and_moves_nothing():
    model = model_of()
    empty = [{**example, "labels": [IGNORE_INDEX] * len(example["labels"])} for example in examples()]
    batches = Padded(empty, TOKENIZER.pad_id, 3, causal=True)
    total, count = causal_lm(model, next(iter(batches)))
    assert total == 0 and count == 0
    before = copy.deepcopy(model.state_dict())
    fit(model, causal_lm, batches, TrainConfig(steps=2, optimizer="adamw", device="cpu", dtype="fp32"), progress=False)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert_close(model.state_dict(), before)


def test_a_few_conversations_learned_by_heart_are_answered_and_end():
    wanted = [chat("who?", "me"), chat("why?", "so it is"), chat("when?", "now")]
    rows = [chat_example(messages, TOKENIZER, 48) for messages in wanted]
    model = model_of()
    config = TrainConfig(steps=120, learning_rate=5e-3, device="cpu", dtype="fp32")
    fit(model, causal_lm, Padded(rows, TOKENIZER.pad_id, 3, seed=0, causal=True), config, progress=False)
    questions = questions_of([{"messages": messages} for messages in wanted])
    answers = ask(model, TOKENIZER, questions)
    assert answers == [messages[1]["content"] for messages in wanted]
    assert scores_by_kind(questions, answers)[""] == {"n": 3, "right": 1.0, "rouge_l": 1.0}
    assert answers != ask_base(model, TOKENIZER, questions)


def test_every_answer_is_a_question_with_the_true_conversation_before_it():
    first, second = questions_of([{"messages": CHAT, "kinds": ["a", "b"]}])
    assert (first.answer, first.kind, len(first.messages)) == ("me", "a", 2)
    assert (second.answer, second.kind, second.messages) == ("so", "b", CHAT[:4])
    assert plain(second.messages).endswith("who?\nme\n\nwhy?\n")
    with pytest.raises(ValueError):
        questions_of([{"messages": CHAT, "kinds": ["a"]}])


def test_a_question_that_leaves_no_room_is_answered_by_nothing_and_said(capsys):
    questions = questions_of([{"messages": chat(text, "on")} for text in ("go on " * 20, "go")])
    for asking in (ask, ask_base):
        found = asking(model_of(), TOKENIZER, questions, 4)
        assert found[0] == "" and found[1:] == asking(model_of(), TOKENIZER, questions[1:], 4) != [""]
        assert "1 questions leave no room for an answer in a context of 48" in capsys.readouterr().out
        with pytest.raises(ValueError, match="none of 1 questions leaves room for an answer in a context of 48"):
            asking(model_of(), TOKENIZER, questions[:1], 4)


# From the command line


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A small pre-trained run."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "a.txt").write_text("\n\n".join(f"who is number {i}? it is {i % 3}." for i in range(60)))
    size = "--depth 1 --width 32 --heads 2 --context 64 --vocab-size 280 --max-steps 10 --batch-size 4".split()
    arguments = ["pretrain", "--data", str(folder / "a.txt"), *size, "--device", "cpu", "--dtype", "fp32"]
    assert main([*arguments, "--out", str(folder / "run")]) == 0
    return folder / "run"


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def alpaca(n):
    return [{"instruction": "Say it.", "input": f"number {i % 4}", "output": f"{i % 4}"} for i in range(n)]


def test_sft_learns_from_the_three_forms_and_packs(base, tmp_path, capsys):
    forms = {
        "alpaca": alpaca(60),
        "prompt": [{"prompt": f"Say {i % 4}.", "completion": f"{i % 4}"} for i in range(60)],
        "messages": [{"messages": chat(f"Say {i % 4}.", f"{i % 4}"), "kinds": ["say"]} for i in range(60)],
    }
    for name, records in forms.items():
        data = write(tmp_path / f"{name}.jsonl", [*records, {**records[0], "id": 1}])
        test = write(tmp_path / f"{name}_test.jsonl", records[:4])
        run = tmp_path / name
        flags = ["--data", data, "--valid", test, "--max-steps", "60", "--pack", "--batch-size", "2", "--device", "cpu"]
        # What is also in validation is not learned, so the training file has a word more.
        lines = (tmp_path / f"{name}.jsonl").read_text()
        (tmp_path / f"{name}.jsonl").write_text(lines.replace("Say it", "Say it now").replace("Say ", "Say now "))
        assert main(["sft", "--from", str(base), *flags, "--out", str(run)]) == 0
        metrics = json.loads((run / "metrics.json").read_text())
        assert metrics["stage"] == "sft" and 0 <= metrics["exact_match"] <= 1
        assert "before, few-shot" in metrics["baselines"]
        assert (run / "samples.txt").stat().st_size and isinstance(load_model(run), Decoder)
        records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        losses = [record["val_loss"] for record in records if "val_loss" in record]
        assert losses[-1] < 0.5 * losses[0]


def test_sft_resumes_to_the_same_bits(base, tmp_path, monkeypatch):
    data = write(tmp_path / "a.jsonl", [{"prompt": f"Say {i}.", "completion": f"{i % 4}"} for i in range(60)])
    flags = ["--data", data, "--from", str(base), "--max-steps", "12", "--eval-every", "4", "--device", "cpu"]
    assert main(["sft", *flags, "--out", str(tmp_path / "whole")]) == 0
    step = trainer.Trainer.step

    def stop_at_8(self, batches):
        if self.history.step == 8:
            raise KeyboardInterrupt
        return step(self, batches)

    monkeypatch.setattr(trainer.Trainer, "step", stop_at_8)
    assert main(["sft", *flags, "--out", str(tmp_path / "part")]) == 130
    monkeypatch.undo()
    assert main(["sft", "--resume", "--out", str(tmp_path / "part")]) == 0
    for own, other in zip(load_model(tmp_path / "whole").parameters(), load_model(tmp_path / "part").parameters()):
        assert torch.equal(own, other)


def test_a_run_remembers_where_it_began_and_refuses_more_context_than_there_is(base, tmp_path, monkeypatch, capsys):
    data = write(tmp_path / "a.jsonl", [{"prompt": f"Say {i}.", "completion": f"{i % 4}"} for i in range(30)])
    flags = ["--data", data, "--max-steps", "2", "--device", "cpu"]
    out = tmp_path / "long"
    assert main(["sft", *flags, "--from", str(base), "--context", "999", "--out", str(out)]) == 2
    assert "--context 999 is longer than the 64" in capsys.readouterr().err and not out.exists()
    monkeypatch.setattr("minillm.cli.sft.named_or_latest", lambda path, *names: RunFolder(path or base))
    assert main(["sft", *flags, "--out", str(tmp_path / "run")]) == 0
    assert RunFolder(tmp_path / "run").config()["settings"]["from_"] == str(base)


def test_show_prints_what_is_learned(base, tmp_path, capsys):
    data = write(tmp_path / "a.jsonl", [*alpaca(8), {"instruction": "Sing.", "output": "la"}])
    assert main(["sft", "--from", str(base), "--data", data, "--show"]) == 0
    table = capsys.readouterr().out
    assert "<|assistant|>" in table and "<|eos|>" in table and not (tmp_path / "runs").exists()


BAD = {
    "no fields": ({"text": "x"}, 'expected "instruction" and "output"'),
    "empty answer": ({"prompt": "x", "completion": " "}, '"completion" is empty'),
    "a number": ({"instruction": "x", "output": 3}, 'expected "output" to be a string'),
    "no list": ({"messages": "hello"}, 'expected "messages" to be a list'),
    "unknown role": ({"messages": [{"role": "bot", "content": "x"}]}, "expected a role of system, user or assistant"),
    "nobody answers": ({"messages": [{"role": "user", "content": "x"}]}, "an assistant's after it"),
    "nobody asks": ({"messages": [{"role": "assistant", "content": "x"}]}, "expected a user's message"),
    "no content": ({"messages": [{"role": "user"}]}, 'expected a field "content"'),
    "wrong kinds": ({"messages": chat("a", "b"), "kinds": ["x", "y"]}, 'expected "kinds" to be a list of 1'),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_file_of_bad_records_is_one_sentence_with_file_and_line(base, tmp_path, capsys, name):
    record, complaint = BAD[name]
    data = write(tmp_path / "a.jsonl", [*alpaca(1), record])
    out = tmp_path / "run"
    assert main(["sft", "--from", str(base), "--data", data, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert f"{data}:2: " in error and complaint in error and error.count("\n") == 1 and not out.exists()


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_few_bad_records_are_left_out_and_shown(base, tmp_path, capsys, name):
    record, complaint = BAD[name]
    good = [{"prompt": f"Say {i}.", "completion": f"{i}"} for i in range(10)]
    data = write(tmp_path / "a.jsonl", [*good[:3], record, *good[3:], *[record] * 6])
    assert main(["sft", "--from", str(base), "--data", data, "--show", "--device", "cpu"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "7 of 17 records are left out:" and len(said) == 7 and said[-1] == "  ..."
    assert [line.split(": ")[0] for line in said[1:6]] == [f"  {data}:{n}" for n in (4, 12, 13, 14, 15)]
    assert all(complaint in line for line in said[1:6])


def test_text_that_the_run_s_tokenizer_does_not_know_is_said(base, tmp_path, capsys):
    data = write(tmp_path / "a.jsonl", [{"prompt": f"说{i}", "completion": "好"} for i in range(8)])
    flags = ["--from", str(base), "--data", data, "--max-steps", "1", "--device", "cpu"]
    assert main(["sft", *flags, "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr()
    assert f"the tokenizer of {base} was made for other text" in said.err and "characters a token" in said.out


def test_an_instruction_without_input_is_its_own_question(tmp_path):
    write(tmp_path / "a.jsonl", [{"instruction": "Sing.", "output": "la"}, {**alpaca(1)[0], "input": "x"}])
    first, second = read_conversations(tmp_path / "a.jsonl")
    assert first.messages[0]["content"] == "Sing." and second.messages[0]["content"] == "Say it.\n\nx"


def test_prompts_longer_than_the_context_are_left_out_and_said(base, tmp_path, capsys):
    long = {"prompt": "who is number? " * 60, "completion": "x"}
    data = write(tmp_path / "a.jsonl", [*[{"prompt": f"Say {i}.", "completion": "x"} for i in range(30)], long])
    flags = ["--from", str(base), "--data", data, "--max-steps", "2", "--device", "cpu", "--seed", "1"]
    assert main(["sft", *flags, "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "longer than the 64 tokens" in said and "no answer within the context" in said
    data = write(tmp_path / "b.jsonl", [{**long, "prompt": f"{i} " + long["prompt"]} for i in range(10)])
    assert main(["sft", "--from", str(base), "--data", data, "--out", str(tmp_path / "run2")]) == 2
    assert "no conversation has an answer that fits" in capsys.readouterr().err


def test_the_mean_loss_of_validation_counts_answers_alone():
    model = model_of()
    whole = mean_loss(
        model,
        causal_lm,
        Padded(examples(), TOKENIZER.pad_id, 6),
        pick_device("cpu", "fp32"),
    )
    by_hand = [causal_lm(model, batch) for batch in Padded(examples(), TOKENIZER.pad_id, 1)]
    assert_close(whole, (sum(t for t, _ in by_hand) / sum(n for _, n in by_hand)).item(), rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def tuned(base, tmp_path_factory):
    """A small run of sft, which says one of four numbers."""
    folder = tmp_path_factory.mktemp("tuned")
    data = write(folder / "a.jsonl", [{"prompt": f"Say {i}.", "completion": f"{i % 4}"} for i in range(60)])
    flags = ["--data", data, "--from", str(base), "--max-steps", "40", "--device", "cpu"]
    assert main(["sft", *flags, "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_conversations_that_somebody_brings_are_seen_more_often_than_the_tales_own(base, tuned, tmp_path):
    def passes(*flags):
        settings = build(SFTSettings, {"from_": base, **dict(flags)})
        return SFT.complete(settings, {}).training.epochs

    assert RunFolder(tuned).config()["settings"]["epochs"] == passes(("data", tmp_path / "a.jsonl")) == 4
    assert max(passes(), passes(("task", "letters"))) < 4
    assert passes(("epochs", 2.5)) == passes(("epochs", 2.5), ("data", tmp_path / "a.jsonl")) == 2.5


def talk(monkeypatch, capsys, lines, *flags):
    """What chat prints when somebody types these lines."""
    lines = iter(lines)

    def typed(prompt):
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", typed)
    capsys.readouterr()
    assert main(["chat", *map(str, flags), "--device", "cpu", "--temperature", "0"]) == 0
    return capsys.readouterr().out


def test_chat_answers_and_begins_anew(tuned, monkeypatch, capsys):
    said = talk(monkeypatch, capsys, ["Say 3.", "Say 5.", "", "Say 3.", "quit"], "--from", tuned)
    lines = [line for line in said.splitlines() if line.strip()]
    assert sum("answers. An empty line begins anew" in line for line in lines) == 2
    answers = [line for line in lines if "answers." not in line]
    assert len(answers) == 3 and answers[0] == answers[2] and all(len(answer) < 5 for answer in answers)


def test_chat_takes_up_a_text_and_forgets_the_oldest_questions(tuned, tmp_path, monkeypatch, capsys):
    (tmp_path / "t.txt").write_text("a tale of 3\n")
    said = talk(monkeypatch, capsys, [f"Say {i}." for i in range(12)], "--from", tuned, "--text", tmp_path / "t.txt")
    assert "a tale of 3" in said and len(said.splitlines()) > 12
    assert "longer than the model can read" not in said
    said = talk(monkeypatch, capsys, ["Say it. " * 80, "Say 1."], "--from", tuned)
    assert "longer than the model can read" in said and said.strip().splitlines()[-1].strip()


def test_a_text_needs_a_model_that_answers(base, tmp_path, capsys):
    (tmp_path / "t.txt").write_text("a tale\n")
    assert main(["chat", "--from", str(base), "--text", str(tmp_path / "t.txt")]) == 2
    assert "--text needs a model that answers" in capsys.readouterr().err


def test_generate_answers_a_prompt_of_a_tuned_run(tuned, tmp_path):
    out = tmp_path / "o.jsonl"
    flags = ["--prompt", "Say 3.", "--n", "2", "--temperature", "0", "--out", str(out)]
    assert main(["generate", "--from", str(tuned), *flags]) == 0
    texts = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(texts) == 2 and texts[0]["prompt"] == "Say 3." and texts[0] == texts[1] and len(texts[0]["text"]) < 5


def test_eval_measures_text_and_names_what_a_model_cannot_try(base, tmp_path, capsys):
    assert main(["eval", "--from", str(base), "--device", "cpu", "--out", str(tmp_path / "s.json")]) == 0
    scores = json.loads((tmp_path / "s.json").read_text())
    assert scores["clinic"]["loss"] > 0 and scores["floor"] < scores["loss"]
    assert scores["patterns"] is scores["instructions"] is None  # the context is too short for them
    said = capsys.readouterr().err
    assert "patterns: not asked." in said and "instructions: not asked." in said


def test_a_prompt_has_the_same_tokens_with_its_answer_and_without(tmp_path):
    for place in (2, 4):
        whole, asked = TOKENIZER.apply_chat(CHAT)[0], TOKENIZER.apply_chat(CHAT[:place], reply=True)[0]
        assert whole[: len(asked)] == asked
    assert whole.count(TOKENIZER.bos_id) == 1 and whole.count(TOKENIZER.eos_id) == 2


REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "instructions.json"


@pytest.mark.skipif(not REAL.exists(), reason="there are no real instructions beside the project")
def test_real_instructions_are_read_as_they_are_and_learned(tmp_path, capsys):
    records = json.loads(REAL.read_text())
    (tmp_path / "a.txt").write_text("\n\n".join(record["output"] for record in records[-300:]))
    size = "--depth 1 --width 32 --heads 2 --context 256 --vocab-size 400 --max-steps 5 --batch-size 4 --device cpu"
    base, run = tmp_path / "base", tmp_path / "run"
    assert main(["pretrain", "--data", str(tmp_path / "a.txt"), *size.split(), "--out", str(base)]) == 0
    flags = ["--max-steps", "60", "--eval-every", "20", "--batch-size", "8", "--pack", "--device", "cpu"]
    found = read_conversations(REAL)
    assert len(found) == len(records)
    for record, conversation in zip(records, found):
        asked, answered = (message["content"] for message in conversation.messages)
        assert answered == record["output"] and asked.startswith(record["instruction"]) and record["input"] in asked
    tokenizer = Tokenizer.load(base / "tokenizer.json")
    for conversation in found[:200]:
        example = chat_example(conversation.messages, tokenizer, 10_000)
        learned = [label for label in example["labels"] if label != IGNORE_INDEX]
        assert learned == [*tokenizer.encode(conversation.messages[1]["content"]), tokenizer.eos_id]
    few = tmp_path / "few.json"
    few.write_text(json.dumps(records[:300]))
    assert main(["sft", "--from", str(base), "--data", str(few), *flags, "--out", str(run)]) == 0
    losses = [json.loads(line).get("val_loss") for line in (run / "log.jsonl").read_text().splitlines()]
    losses = [loss for loss in losses if loss is not None]
    assert losses[-1] < losses[0] and (run / "samples.txt").read_text().count("expected:") > 5


@pytest.mark.parametrize(
    ("true", "said", "rouge"),
    [
        (["蓝色", "绿色", "白色"], ["蓝色", "绿色", "红色"], None),
        (["3个苹果", "草"], ["3个香蕉", "草"], None),  # a digit is not most of it
        (["the sky", "蓝色"], ["the sea", "蓝色"], 0.5),  # of the one that ROUGE can read
        (["the sky", "a cat"], ["the sky", "a dog"], 0.75),
    ],
)
def test_rouge_is_left_out_where_it_cannot_read_the_answers(true, said, rouge):
    scores = summary([Question([{"role": "user", "content": "?"}], text) for text in true], said)
    assert scores["rouge_l"] == scores["kinds"][""]["rouge_l"] == rouge
    assert scores["exact_match"] == sum(map(str.__eq__, true, said)) / len(true)


@pytest.mark.parametrize(
    "true",
    [["yes", "no", "yes"], ["这是蓝色的天空", "那是绿色的草"], ["it is a blue sky", "no"], ["a red cat", "ab cd ef"]],
)
def test_bleu_is_left_out_where_the_true_answers_themselves_would_get_nothing(true):
    perfect = sacrebleu.corpus_bleu(true, [true]).score
    found = summary([Question([{"role": "user", "content": "?"}], text) for text in true], true)["bleu"]
    assert found == (pytest.approx(perfect) if perfect else None)
