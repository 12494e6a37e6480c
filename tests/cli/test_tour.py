"""`train.py tour`, and the page that it ends with."""

import html.parser
import re
from types import SimpleNamespace

import pytest
import torch

from minillm.cli import main, page, tour, tour_report
from minillm.models import Decoder, ModelConfig
from minillm.report import html as report
from minillm.system import Compute
from minillm.text import Tokenizer
from minillm.training import RunFolder

FEW = ("--max-steps", "2", "--eval-every", "1", "--context", "256")
SMALL = {
    "bigram": ("--max-steps", "2", "--vocab-size", "300"),
    "pretrain": ("--max-steps", "2", "--vocab-size", "1536", "--depth", "1", "--width", "16", "--heads", "1"),
    "sft": (*FEW, "--examples", "8"),
    "letters": (*FEW, "--examples", "8", "--rehearse", "0"),
    "reward": (*FEW, "--examples", "8"),
    "ppo": ("--rounds", "1", "--batch-size", "4", "--minibatch-size", "4", "--max-new-tokens", "4"),
    "dpo": (*FEW, "--examples", "8", "--rehearse", "0"),
}


class Tags(html.parser.HTMLParser):
    """Whether every tag that opens is closed, in order; and what an image or a link asks for."""

    def __init__(self):
        super().__init__()
        self.open, self.asked = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.asked += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def small(monkeypatch):
    stages = [stage._replace(command=(*stage.command, *SMALL[stage.name])) for stage in tour.STAGES]
    monkeypatch.setattr(tour, "STAGES", stages)
    for name, value in {"LETTERS": 4, "CONVERSATIONS": 2, "DOCUMENTS": 4, "SHOWN_PROMPTS": 2, "BESIDE": 2}.items():
        monkeypatch.setattr(tour_report, name, value)
    monkeypatch.setattr(page, "PAIRS", 2)


@pytest.mark.lessons  # as long as some of them
def test_a_tour_goes_through_every_stage_and_ends_with_a_page_that_needs_no_other_file(small, tmp_path, capsys):
    out = tmp_path / "tour"
    assert main(["tour", "--out", str(out)]) == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    pictures = [asked for asked in tags.asked if asked.startswith("data:image/png;base64,")]
    assert not tags.open and len(pictures) == 10  # each inside the page
    assert [asked for asked in tags.asked if asked not in pictures] == ["page.html", "letters.html"]
    assert all((out / name).stat().st_size > 100_000 for name in ("page.html", "letters.html"))
    assert all(title in page for title in tour_report.TITLES.values())
    assert len(re.findall("<blockquote>", page)) == 2
    said = capsys.readouterr().out
    assert "7 of 7 stages to go" in said and str(out / "report.html") in said
    assert main(["tour", "--out", str(out)]) == 0  # nothing is left to do but the page
    assert "0 of 7 stages to go" in capsys.readouterr().out


def test_a_tour_that_fails_in_a_stage_says_how_to_go_on(small, monkeypatch, tmp_path, capsys):
    broken = [tour.STAGES[0]._replace(command=("bigram", "--max-steps", "2", "--vocab-size", "3"))]
    monkeypatch.setattr(tour, "STAGES", broken)
    assert main(["tour", "--out", str(tmp_path)]) == 2
    assert f"go on with: python train.py tour --out {tmp_path}" in capsys.readouterr().out


def test_a_tour_in_a_file_or_with_another_seed_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert main(["tour", "--out", str(tmp_path / "file" / "in")]) == 2
    assert f"{tmp_path / 'file'} is a file; name a folder" in capsys.readouterr().err
    RunFolder(tmp_path / "begun" / "bigram").save_config(stage="bigram", settings={"seed": 0})
    assert main(["tour", "--out", str(tmp_path / "begun"), "--seed", "1"]) == 2
    assert "bigram was made with --seed 0, not 1: take that, or another folder by --out" in capsys.readouterr().err


def test_what_is_drawn_for_the_page_is_drawn_on_the_models_device(monkeypatch):
    devices = []

    def generator(device="unnamed"):
        devices.append(str(device))
        return torch.Generator(device)

    tokenizer = Tokenizer.characters("abc \n")
    model = Decoder(ModelConfig(tokenizer.vocab_size, 32, layers=1, width=16, heads=2)).eval()
    place = Compute(torch.device("cpu"), torch.float32)
    monkeypatch.setattr(tour_report, "torch", SimpleNamespace(Generator=generator))
    found = tour_report.continued(model, tokenizer, [[{"role": "user", "content": "ab"}]], place, 0)
    assert len(found) == 1 and devices == ["cpu"]


def test_a_page_escapes_what_comes_from_outside():
    bad = "<script>alert('a & b')</script>"
    made = report.page(bad, [report.table([bad], [[bad]]), report.quotation(bad), report.texts({bad: bad})])
    assert "<script" not in made and made.count("&lt;script&gt;") == 7


def test_a_table_puts_numbers_on_the_right_and_leaves_a_missing_value_empty():
    row = report.table(["a", "b", "c"], [[1234, None, "x"]])
    assert '<td class="number">1,234</td><td></td><td>x</td>' in row


def test_a_picture_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"nothing\.png: there is no such picture"):
        report.image("nothing.png", "caption")
