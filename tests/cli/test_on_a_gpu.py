"""Every command and every method on a GPU that is not there: no tensor is in the wrong place, and all end well."""

import json

import pytest
from virtual_gpu import VirtualGPU

from minillm import peft
from minillm.cli import main

SIZE = "--depth 1 --width 16 --heads 2 --vocab-size 280 --batch-size 4"
SHORT = "--max-steps 3 --eval-every 2"
ROUNDS = "--rounds 1 --batch-size 4 --minibatch-size 2 --max-new-tokens 6"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What a person would bring, and the runs that other commands begin with, made on the device."""
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "text.txt").write_text("\n\n".join(f"say something kind, number {i}: you are good" for i in range(60)))
    pairs = [{"prompt": f"say {i}", "chosen": f"you are {i}", "rejected": f"bad {i}"} for i in range(16)]
    rows = {
        "pairs": pairs,
        "chats": [{"prompt": pair["prompt"], "completion": pair["chosen"]} for pair in pairs],
        "prompts": [{"prompt": pair["prompt"]} for pair in pairs],
        "classes": [{"text": f"{'good' if i % 2 else 'bad'} film {i}", "label": i % 2} for i in range(30)],
        "texts": [{"text_a": f"film {i}", "text_b": f"number {i}", "label": i % 2} for i in range(30)],
        "alike": [{"text_a": f"film {i}", "text_b": f"movie {i}"} for i in range(30)],
        "tags": [{"tokens": ["Tom", "ran", str(i)], "tags": ["B-X", "O", "O"]} for i in range(30)],
    }
    for name, records in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.MonkeyPatch.context() as patch:
        quick(patch)
        for name in ("pretrain", "mlm", "sft", "reward", "classify", "tag", "tuned", "weighed"):
            run(folder, name)
    return folder


def quick(patch):
    patch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file, **more: None)  # pictures take most of it
    patch.setattr("minillm.cli.ppo.STANDARD", 12)


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    quick(monkeypatch)


COMMANDS = {
    "pretrain": f"pretrain --data text.txt {SIZE} {SHORT} --context 32 --samples 1 --accumulate 2 --dropout 0.1",
    "mlm": f"mlm --data text.txt {SIZE} {SHORT}",
    "sft": f"sft --data chats.jsonl --from pretrain {SHORT}",
    "reward": f"reward --data pairs.jsonl --from sft {SHORT}",
    "classify": f"classify --data classes.jsonl --from mlm {SHORT}",
    "tag": f"tag --data tags.jsonl --from mlm {SHORT}",
    "weighed": f"pretrain --recipe gpt2 --data text.txt {SIZE} {SHORT} --context 32 --samples 1",  # norms that learn
    "tuned": f"sft --method lora --data chats.jsonl --from pretrain {SHORT}",
}
MORE = {
    "bigram": "bigram --data text.txt --vocab-size 280 --max-steps 3 --batch-size 4 --context 32 --samples 1",
    "lstm": f"pretrain --model lstm --data text.txt {SIZE} {SHORT} --context 32 --samples 1".replace("--heads 2", ""),
    "gpt2": f"pretrain --recipe gpt2 --data text.txt {SIZE} {SHORT} --context 32 --samples 1",
    "llama": f"pretrain --recipe llama --data text.txt {SIZE} {SHORT} --context 32 --samples 1",
    "bert": f"mlm --recipe bert --next-sentence --data text.txt {SIZE} {SHORT}",
    "pair": f"pair --data texts.jsonl --from mlm {SHORT}",
    "encode": f"encode --data alike.jsonl --from mlm {SHORT}",
    "packed": f"sft --pack --unfreeze --layer-decay 0.8 --data chats.jsonl --from pretrain {SHORT}",
    "dpo": f"dpo --data pairs.jsonl --from sft {SHORT}",
    "dpo, lora": f"dpo --method lora --data pairs.jsonl --from sft {SHORT}",
    "simpo": f"dpo --loss simpo --data pairs.jsonl --from sft {SHORT}",
    "reward, lora": f"reward --method lora --data pairs.jsonl --from sft {SHORT}",
    "ppo": f"ppo --data prompts.jsonl --from sft --reward reward {ROUNDS}",
    "ppo, lora": f"ppo --method lora --data prompts.jsonl --from sft --reward reward {ROUNDS}",
    "grpo": f"ppo --algorithm grpo --group-size 2 --data prompts.jsonl --from sft --reward reward {ROUNDS}",
    "classify, prompt": f"classify --method prompt --data classes.jsonl --from mlm {SHORT}",
    **{
        method: f"sft --method {method} --data chats.jsonl --from pretrain {SHORT.replace('3', '14')}"
        for method in ("head", "last", *peft.METHODS)
        if method != "lora"
    },
    "norm": f"sft --method norm --data chats.jsonl --from weighed {SHORT}",
}
USES = {
    "generate": "generate --from pretrain --n 2 --max-new-tokens 8",
    "beside an adapter": "generate --from tuned --prompt hello --n 2 --max-new-tokens 8",
    "predict": "predict --from classify --text film",
    "predict tags": "predict --from tag --text Tom",
    "merge": "merge --from tuned --out merged",
}


def run(folder, name, dtype="bf16", **virtual):
    """Run a command of the tables in `folder`, on the device. Returns the device."""
    line = (COMMANDS | MORE | USES)[name].split()
    files = {part: str(folder / part) for part in line[1:] if (folder / part).exists() or part == "merged"}
    line = [line[0], *(files.get(part, part) for part in line[1:])]
    if name not in USES:
        line += ["--out", str(folder / name.replace(", ", "-"))]
    with VirtualGPU(**virtual) as gpu:
        assert main([*line, *([] if name == "merge" else ["--device", "cuda", "--dtype", dtype])]) == 0
    return gpu


@pytest.mark.compiled
@pytest.mark.parametrize("name", [*MORE, *USES])
def test_a_command_runs_on_a_gpu(name, folder, capsys):
    gpu = run(folder, name)
    assert gpu.launches or name == "merge"


@pytest.mark.compiled
def test_fp16_and_going_on_work_there_too(folder, tmp_path, capsys):
    (tmp_path / "text.txt").write_bytes((folder / "text.txt").read_bytes())
    assert run(tmp_path, "pretrain", "fp16").launches
    with VirtualGPU():
        assert main(["pretrain", "--resume", "--out", str(tmp_path / "pretrain")]) == 0
    assert "is finished" in capsys.readouterr().out
