"""Conversations, preferences and prompts in the forms that people have, each in every file format, read as one."""

import csv
import json

import pytest

from minillm.data import messages, read_conversations, read_labelled, read_preferences, read_prompts, read_scored_pairs

N = 4
USER, ASSISTANT, SYSTEM = "user", "assistant", "system"


def message(role, text):
    return {"role": role, "content": text}


def shared(who, text):
    return {"from": who, "value": text}


def write(folder, kind, records):
    """The records as a file of this kind; in a table, lists are written as JSON."""
    path = folder / f"a.{kind}"
    if kind == "json":
        path.write_text(json.dumps(records, indent=1))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(records[0]), dialect="excel" if kind == "csv" else "excel-tab")
            writer.writeheader()
            for record in records:
                cells = {k: v if isinstance(v, str) else json.dumps(v) for k, v in record.items()}
                writer.writerow(cells)
    return path


TALKS = {  # what each form makes of question i and answer i: (role, text)
    "alpaca": lambda i: {"instruction": f"Say {i}.", "input": f"It is\nbelow {i}.", "output": f"It is {i}."},
    "dolly": lambda i: {"instruction": f"Say {i}.", "context": f"It is\nbelow {i}.", "response": f"It is {i}."},
    "prompt": lambda i: {"prompt": f"Say {i}.\n\nIt is\nbelow {i}.", "completion": f"It is {i}."},
    "question": lambda i: {"id": f"{i}", "question": f"Say {i}.\n\nIt is\nbelow {i}.", "answer": f"It is {i}."},
    "trl": lambda i: {
        "prompt": [message(USER, f"Say {i}.\n\nIt is\nbelow {i}.")],
        "completion": [message(ASSISTANT, f"It is {i}.")],
    },
    "messages": lambda i: {
        "messages": [message(USER, f"Say {i}.\n\nIt is\nbelow {i}."), message(ASSISTANT, f"It is {i}.")]
    },
    "sharegpt": lambda i: {
        "conversations": [shared("human", f"Say {i}.\n\nIt is\nbelow {i}."), shared("gpt", f"It is {i}.")]
    },
    "sharegpt, its beginning lost": lambda i: {
        "conversations": [
            shared("gpt", "and so on"),
            shared("human", f"Say {i}.\n\nIt is\nbelow {i}."),
            shared("gpt", f"It is {i}."),
        ]
    },
}
KINDS = ["json", "jsonl", "csv", "tsv"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", sorted(TALKS))
def test_every_form_of_conversations_is_the_same_in_every_format(tmp_path, form, kind):
    found = read_conversations(write(tmp_path, kind, [TALKS[form](i) for i in range(N)]))
    assert [talk.messages for talk in found] == [
        [message(USER, f"Say {i}.\n\nIt is\nbelow {i}."), message(ASSISTANT, f"It is {i}.")] for i in range(N)
    ]


@pytest.mark.parametrize(
    "record",
    [
        {"system": "Be kind.", "instruction": "Hi", "output": "Yo"},
        {"system_prompt": "Be kind.", "question": "Hi", "response": "Yo"},
        {"messages": [message(SYSTEM, "Be kind."), message(USER, "Hi"), message(ASSISTANT, "Yo")]},
        {"conversations": [shared("system", "Be kind."), shared("human", "Hi"), shared("gpt", "Yo")]},
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_system_s_message_comes_first_and_an_empty_one_is_none(tmp_path, record, kind):
    (talk,) = read_conversations(write(tmp_path, kind, [record]))
    assert talk.messages == [message(SYSTEM, "Be kind."), message(USER, "Hi"), message(ASSISTANT, "Yo")]
    (talk,) = read_conversations(write(tmp_path, "json", [json.loads(json.dumps(record).replace("Be kind.", " "))]))
    assert [one["role"] for one in talk.messages] == [USER, ASSISTANT]


def test_lists_in_a_table_may_be_written_as_python_does(tmp_path):
    (tmp_path / "a.csv").write_text(
        "messages\n\"[{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': \"\"it's\"\"}]\"\n"
    )
    (talk,) = read_conversations(tmp_path / "a.csv")
    assert talk.messages == [message(USER, "Hi"), message(ASSISTANT, "it's")]


BEFORE = [message(USER, "Hi"), message(ASSISTANT, "Yo"), message(USER, "Is it far?")]
HH = "\n\nHuman: Hi\n\nAssistant: Yo\n\nHuman: Is it far?\n\nAssistant:"
MARKED = "\n\nHuman: Say it.\n\nLoud.\n\nAssistant:"
PAIRS = {  # of several turns
    "hh-rlhf": {"chosen": f"{HH} No.", "rejected": f"{HH} Yes.\n\nVery."},
    "hh-rlhf, with its prompt": {"prompt": HH, "chosen": " No.", "rejected": " Yes.\n\nVery."},
    "trl": {"prompt": BEFORE, "chosen": [message(ASSISTANT, "No.")], "rejected": [message(ASSISTANT, "Yes.\n\nVery.")]},
    "trl, implicit prompt": {
        "chosen": [*BEFORE, message(ASSISTANT, "No.")],
        "rejected": [*BEFORE, message(ASSISTANT, "Yes.\n\nVery.")],
    },
    "ultrafeedback": {
        "prompt": "Hi",
        "chosen": [*BEFORE, message(ASSISTANT, "No.")],
        "rejected": [*BEFORE, message(ASSISTANT, "Yes.\n\nVery.")],
    },
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", sorted(PAIRS))
def test_every_form_of_preferences_is_the_same_in_every_format(tmp_path, form, kind):
    (pair,) = read_preferences(write(tmp_path, kind, [PAIRS[form]]))
    conversation, *answers = pair.pair
    assert conversation == BEFORE and [answer.strip() for answer in answers] == ["No.", "Yes.\n\nVery."]
    assert pair.group == pair.texts[0] == "user: Hi\n\nassistant: Yo\n\nuser: Is it far?"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Say it.\n\nLoud.", "chosen": "It.", "rejected": "No."},
        {"instruction": "Say it.", "input": "Loud.", "chosen": "It.", "rejected": "No."},
        {"question": "Say it.\n\nLoud.", "chosen": "It.", "rejected": "No."},
        {side: f"{MARKED} {said}" for side, said in (("chosen", "It."), ("rejected", "No."))},
        {
            "chosen": [message(USER, "Say it.\n\nLoud."), message(ASSISTANT, "It.")],
            "rejected": [message(USER, "Say it.\n\nLoud."), message(ASSISTANT, "No.")],
        },
    ],
)  # fmt: skip
def test_a_preference_of_one_question_has_it_as_its_text(tmp_path, record, kind):
    (pair,) = read_preferences(write(tmp_path, kind, [record]))
    assert pair.texts == ("Say it.\n\nLoud.", "It.", "No.")
    assert pair.pair == ([message(USER, "Say it.\n\nLoud.")], "It.", "No.")


BAD_PAIRS = {
    "the same": ({"prompt": "a", "chosen": "b", "rejected": " b"}, "are the same"),
    "the same talk": ({"chosen": f"{HH} No.", "rejected": f"{HH} No."}, "are the same"),
    "an empty answer": ({"chosen": f"{HH} No.", "rejected": HH}, "alike but for the last answer"),
    "apart early": (
        {"chosen": f"{HH} No.", "rejected": "\n\nHuman: Hi\n\nAssistant: Oh\n\nHuman: What?\n\nAssistant: No."},
        "alike but for the last answer",
    ),
    "no prompt": ({"chosen": "No.", "rejected": "Yes."}, "a prompt that ends with the user's message, found nothing"),
    "an answer asks": ({"prompt": [BEFORE[1]], "chosen": "a", "rejected": "b"}, "ends with the user's message"),
    "no messages": ({"prompt": [], "chosen": "a", "rejected": "b"}, 'expected "prompt" to be a list of'),
    "a tool": ({"prompt": [message("tool", "x")], "chosen": "a", "rejected": "b"}, "found 'tool'"),
}


@pytest.mark.parametrize("name", sorted(BAD_PAIRS))
def test_a_pair_that_teaches_nothing_is_left_out_with_its_line(tmp_path, capsys, name):
    record, why = BAD_PAIRS[name]
    good = [{"prompt": f"a {i}", "chosen": "b", "rejected": "c"} for i in range(2)]
    path = write(tmp_path, "jsonl", [good[0], record, good[1]])
    assert [pair.texts[0] for pair in read_preferences(path)] == ["a 0", "a 1"]
    first, second = capsys.readouterr().err.splitlines()
    assert first == "1 of 3 records are left out:" and second.startswith(f"  {path}:2: ") and why in second


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_may_be_conversations(tmp_path, kind):
    for record in ({"prompt": BEFORE}, {"prompt": HH}):
        (prompt,) = read_prompts(write(tmp_path, kind, [record]))
        assert prompt.messages == BEFORE
    (prompt,) = read_prompts(write(tmp_path, kind, [{"instruction": "Say it.", "input": "Loud."}]))
    assert prompt.messages == [message(USER, "Say it.\n\nLoud.")]


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_under_the_names_of_well_known_sets(tmp_path, kind):
    sets = [("sentence1", "sentence2", "label"), ("premise", "hypothesis", "gold_label")]
    sets += [("#1 String", "#2 String", "Quality")]
    sets += [("question1", "question2", "is_duplicate"), ("question", "sentence", "label")]
    for names in sets:
        path = write(tmp_path, kind, [dict(zip(names, ("a b", "c d", "yes")))])
        assert [(one.texts, one.label) for one in read_labelled("text_a", "text_b")(path)] == [(("a b", "c d"), "yes")]
    path = write(tmp_path, kind, [dict(zip(("sentence1", "sentence2", "score"), ("a b", "c d", "0.5")))])
    assert [(one.texts, one.label) for one in read_scored_pairs(path)] == [(("a b", "c d"), 0.5)]


@pytest.mark.parametrize("score", [float("nan"), float("inf"), "much", True])
def test_a_score_that_is_no_number_is_left_out_and_shown(tmp_path, capsys, score):
    records = [{"text_a": "a", "text_b": f"b {i}", "score": i} for i in range(3)]
    records[1]["score"] = score
    path = write(tmp_path, "jsonl", records)
    assert [one.label for one in read_scored_pairs(path)] == [0.0, 2.0]
    assert f'{path}:2: expected "score" to be a number' in capsys.readouterr().err


def test_the_worked_examples_hold():
    import doctest

    assert doctest.testmod(messages).failed == 0
