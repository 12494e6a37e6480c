"""The page in a real browser: what it computes, what happens when one clicks, how it looks at every width."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from browsers import CONTRASTS, chromium, opened
from hostile import HOSTILE, hostile_texts

from minillm import hub, tales
from minillm.cli import main
from minillm.data import read_preferences
from minillm.tales import NextToken

pytestmark = pytest.mark.browser
MODELS = Path(__file__).resolve().parents[2] / "data" / "models"
CHOICES = 20
PICTURES = os.environ.get("MINILLM_PICTURES")  # a folder for a picture of every view at every width, to be looked at


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages by name, each made when it is asked for the first time."""
    folder, made = tmp_path_factory.mktemp("pages"), {}

    def page(name: str, *flags) -> Path:
        if name not in made:
            made[name] = folder / f"{name}.html"
            command = ["page", "--from", str(MODELS / name) if (MODELS / name).exists() else name, "--device", "cpu"]
            assert main([*command, "--out", str(made[name]), *map(str, flags)]) == 0
        return made[name]

    page.folder = folder
    return page


def head(folder: Path, command: str, records: list[dict]) -> Path:
    """A run of a head, hardly trained."""
    out = folder / command
    if not out.exists():
        data = folder / f"{command}.jsonl"
        data.write_text("".join(json.dumps(record) + "\n" for record in records))
        flags = ["--data", str(data), "--max-steps", "2", "--device", "cpu", "--out", str(out)]
        assert main([command, "--from", str(MODELS / "mlm"), *flags]) == 0
    return out


RECORDS = {
    "classify": [{"text": f"{'good' if i % 2 else 'bad'} day number {i}", "label": "yn"[i % 2]} for i in range(40)],
    "pair": [{"text_a": f"Mira ran {i}.", "text_b": f"Moss sat {i}.", "label": "yn"[i % 2]} for i in range(40)],
    "tag": [{"tokens": ["Mira", "ran", str(i), "."], "tags": ["B-PER", "O", "O", "O"]} for i in range(40)],
    "encode": [{"text_a": f"Mira ran {i}.", "text_b": f"She ran {i}."} for i in range(40)],
}


def ids_of(page) -> list[int]:
    return page.evaluate("page.view.ids")


# What it computes


def test_the_default_page_agrees_with_torch_and_is_small(browser, pages):
    path = pages("pretrain")
    assert path.stat().st_size <= 2_000_000
    model, tokenizer = hub.load(MODELS / "pretrain")
    draw = random.Random(0)
    texts = [tale.text for tale in tales.make_documents(90, 77)] + [
        "Once there was a castle",
        "x",
        "Zebra <b>",
        "",
        "a b c",
    ] * 2
    rows = [[tokenizer.bos_id, *tokenizer.encode(text)][: draw.randrange(20, 110)] for text in texts]
    with opened(browser, path) as page:
        said = page.evaluate(
            """rows => rows.map((ids) => { const { model } = runs[0]; model.read(ids);
               return model.logits.map((logits, t) => { const p = softmax(logits), best = likeliest(p, 5);
                 return [best, best.map((id) => p[id]), Array.from(model.looks(1, 0, t)).slice(0, 8)]; }); })""",
            rows,
        )
    assert len(rows) == 100
    for ids, row in zip(rows, said):
        with torch.no_grad():
            chances = model(torch.tensor([ids]))[0].softmax(-1)
        for one, (best, p, _) in zip(chances, row):
            top = one.topk(2).values
            assert best[0] == int(one.argmax()) or float(top[0] - top[1]) < 1e-4
            assert float((torch.tensor(p) - one[torch.tensor(best)]).abs().max()) < 2e-3


def test_tokens_and_the_world_in_the_browser_are_python_s(browser, pages):
    tokenizer = hub.load_tokenizer(MODELS / "pretrain")
    texts, world = [*HOSTILE, *hostile_texts(150, 9)], NextToken(tokenizer)
    documents = [tokenizer.encode(tale.text) for tale in tales.make_documents(12, 78)]
    prefixes = [ids[: len(ids) * part // 5] for ids in documents for part in range(6)]
    with opened(browser, pages("pretrain")) as page:
        found = page.evaluate("texts => texts.map((text) => tokenizer.encode(text))", texts)
        exact = page.evaluate("rows => rows.map((ids) => [...world.after(ids)])", prefixes)
    assert found == [tokenizer.encode(text) for text in texts]
    for ids, said in zip(prefixes, exact):
        expected = world.after(ids)
        assert dict(said).keys() == expected.keys()
        assert all(abs(p - expected[i]) < 1e-12 for i, p in said)


def test_it_is_quick(browser, pages):
    """What a busy machine allows; benchmarks hold the figures."""
    with opened(browser, pages("pretrain")) as page:
        first = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        speed = page.evaluate(
            """async () => { const { view } = page, t = performance.now(); let n = 0;
               for (let text = 0; text < 3; text++) { await view.empty(); await view.run(); n += view.ids.length; }
               return 1000 * n / (performance.now() - t); }"""
        )
        print(f"first picture after {first:.0f} ms, {speed:.0f} tokens a second")
        assert first < 3000 and speed > 20


# What one does


def test_tokens_are_drawn_taken_and_taken_back(browser, pages):
    with opened(browser, pages("pretrain")) as page:
        page.fill("#text", "One spring morning")
        page.wait_for_timeout(200)
        before = ids_of(page)
        page.click("#next")
        assert len(ids_of(page)) == len(before) + 1 and page.input_value("#text").startswith("One spring morning")
        page.click("#back")
        assert ids_of(page) == before
        bar = page.locator("button.bar").nth(0)
        wanted = int(bar.get_attribute("data-id"))
        bar.click()
        assert ids_of(page) == [*before, wanted]
        page.locator(".token").nth(1).click()  # the picked token's successor is shown
        assert page.evaluate("page.view.picked") == 1 and "token 1." in page.inner_text(".told")
        page.click("#clear")
        page.click("#go")
        page.wait_for_timeout(1500)
        assert len(ids_of(page)) > 20
        page.evaluate("page.view.stop()")


def test_keys_do_what_they_say(browser, pages):
    with opened(browser, pages("pretrain")) as page:
        before = len(ids_of(page))
        page.locator("h1").click()
        page.keyboard.press("ArrowRight")
        assert len(ids_of(page)) == before + 1
        page.keyboard.press("ArrowLeft")
        assert len(ids_of(page)) == before
        page.keyboard.press("[")
        assert page.evaluate("page.view.picked") == before - 2
        page.keyboard.press("]")
        page.keyboard.press("1")
        assert len(ids_of(page)) == before + 1
        page.focus("#text")
        page.keyboard.press("Control+Enter")
        assert len(ids_of(page)) == before + 2


def test_sliders_change_what_can_be_drawn(browser, pages):
    with opened(browser, pages("pretrain")) as page:
        page.fill("#topk", "2")
        assert "2 of 1536 can be drawn" in page.inner_text("main")
        page.fill("#temperature", "0")
        assert "1 of 1536 can be drawn" in page.inner_text("main")
        assert page.locator("button.bar.cut").count() > 0


def test_a_head_that_is_off_changes_what_comes_next_and_comes_back(browser, pages):
    with opened(browser, pages("pretrain")) as page:
        logits = "Array.from(runs[0].model.logits.at(-1))"
        before = page.evaluate(logits)
        page.locator(".heads button").nth(3).click()
        off = page.evaluate(logits)
        page.locator(".heads button").nth(3).click()
        assert off != before and page.evaluate(logits) == before
        page.locator(".heads canvas").nth(0).hover(position={"x": 30, "y": 60})
        assert "of what it hears from" in page.inner_text(".pair") and page.locator(".token.seen").count() > 0


def test_the_first_token_that_the_world_cannot_have_written_is_marked(browser, pages):
    with opened(browser, pages("pretrain")) as page:
        page.fill("#text", "Once there was a castle of gold")
        page.wait_for_selector(".token.slip")
        assert page.locator(".token.slip").count() == 1 and "castle" in page.inner_text(".token.slip")
        assert "The world cannot have written this, from ·castle" in page.inner_text(".told")
        page.fill("#text", "Once there was a bra")  # a word that is not finished may become one
        page.wait_for_timeout(300)
        assert page.locator(".token.slip").count() == 0


def test_the_address_holds_what_one_sees(browser, pages):
    with opened(browser, pages("pretrain"), address="#text=One+day+%26+%3Cb%3E&t=0.5&k=3&p=0.9&at=2") as page:
        assert page.input_value("#text") == "One day & <b>" and page.input_value("#topk") == "3"
        page.wait_for_timeout(200)
        assert page.evaluate("page.view.picked") == 2
        page.fill("#text", "Another")
        page.wait_for_url(re.compile("text=Another"))


def test_a_conversation_is_the_template_as_tokens(browser, pages):
    tokenizer = hub.load_tokenizer(MODELS / "sft")
    with opened(browser, pages("sft")) as page:
        page.click("nav button[data-view=chat]")
        question = tales.make_tales(1, 5)[0].text + "\n\nWho is it about?"
        page.fill("textarea.answer", question)
        page.fill("#temperature", "0")
        page.wait_for_timeout(300)  # what is about to be asked is shown as it will be read
        assert ids_of(page) == tokenizer.apply_chat([{"role": "user", "content": question}], reply=True)[0]
        page.click("#ask")
        page.wait_for_timeout(1500)
        ids, messages = ids_of(page), page.evaluate("page.view.messages")
        assert messages[0] == {"role": "user", "content": question} and messages[1]["content"]
        expected, _ = tokenizer.apply_chat(messages)
        assert ids == expected
        assert page.locator(".token.special", has_text="<|assistant|>").count() == 1


def test_twenty_choices_are_downloaded_and_dpo_learns_from_them(browser, pages, tmp_path):
    with opened(browser, pages("letters", "--pairs", CHOICES + 2)) as page:
        page.click("nav button[data-view=rate]")
        chosen = []
        for i in range(CHOICES):
            answers = page.locator(".choice").all_inner_texts()
            if i % 2:
                page.locator(".choice").nth(i % 3 % 2).click()
            else:
                page.keyboard.press(str(1 + i % 3 % 2))
            chosen.append(re.sub(r"^\d\s*", "", answers[i % 3 % 2]))
        assert "the world, which knows" in page.inner_text("main") and "by chance it is one half" in page.inner_text(
            "main"
        )
        with page.expect_download() as download:
            page.click("#download")
        file = tmp_path / download.value.suggested_filename
        download.value.save_as(file)
    assert file.name == "preferences.jsonl"
    pairs = read_preferences(file)
    assert [" ".join(pair.texts[1].split()) for pair in pairs] == [" ".join(text.split()) for text in chosen]
    assert len(pairs) == CHOICES and all(pair.truth is not None for pair in pairs)
    flags = [
        "--data",
        str(file),
        "--max-steps",
        "2",
        "--batch-size",
        "2",
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "dpo"),
    ]
    assert main(["dpo", "--from", str(MODELS / "letters"), *flags]) == 0


def test_hidden_words_are_restored(browser, pages):
    with opened(browser, pages("mlm")) as page:
        page.wait_for_selector(".token.hidden-word")
        assert page.locator(".token.hidden-word").count() == 3
        assert "hidden tokens restored" in page.inner_text("main")
        page.locator(".token.hidden-word").nth(0).click()
        page.wait_for_timeout(300)
        assert page.locator(".token.hidden-word").count() == 2


def test_two_runs_stand_side_by_side(browser, pages):
    path = pages.folder / "two.html"
    assert main(["page", "--from", str(MODELS / "pretrain"), "--beside", str(MODELS / "sft"), "--out", str(path)]) == 0
    with opened(browser, path) as page:
        assert page.locator(".keys span").all_inner_texts()[:2] == ["pretrain", "sft"]
        page.select_option("select[aria-label='Colour of the tokens']", "difference")
        assert "loss of pretrain" in page.inner_text(".sums") and "loss of sft" in page.inner_text(".sums")


# How it looks


def views(pages) -> dict[str, tuple[Path, str | None]]:
    """Every view there is: its page, and the tab that opens it."""
    found = {name: (pages(name), None) for name in ("pretrain", "mlm", "reward", "lstm")}
    found |= {tab: (pages("letters", "--pairs", CHOICES + 2), tab) for tab in ("chat", "rate")}
    for command, records in RECORDS.items():
        found[command] = pages(str(head(pages.folder, command, records))), None
    return found


def test_at_every_width_and_in_the_dark_nothing_scrolls_sideways_and_all_can_be_read(browser, pages):
    for name, (path, tab) in views(pages).items():
        with opened(browser, path) as page:
            if tab:
                page.click(f"nav button[data-view={tab}]")
            for box in page.locator("input[type=checkbox]:visible").all():
                box.check()
            for width in (1200, 800, 390):
                page.set_viewport_size({"width": width, "height": 900})
                for scheme in ("light", "dark"):
                    page.emulate_media(color_scheme=scheme)
                    page.wait_for_timeout(100)
                    wide = page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]")
                    assert max(wide) <= width, (name, width, scheme)
                    assert page.evaluate(CONTRASTS) == [], (name, width, scheme)
                    if PICTURES:
                        page.screenshot(path=f"{PICTURES}/{name}-{width}-{scheme}.png", full_page=True)


def test_what_comes_from_data_stays_text(browser, pages, tmp_path):
    evil = '</script><script>document.title="taken"</script><img src=x onerror="document.title=1"> <!-- &amp; '
    text = tmp_path / "evil.txt"
    text.write_text("\n\n".join(evil + str(i) for i in range(400)))
    out = tmp_path / "<b>run"
    flags = ["--data", str(text), "--depth", "1", "--max-steps", "2", "--vocab-size", "300", "--device", "cpu"]
    assert main(["pretrain", *flags, "--out", str(out)]) == 0
    assert main(["page", "--from", str(out), "--out", str(tmp_path / "page.html")]) == 0
    with opened(browser, tmp_path / "page.html") as page:
        assert page.title() == "<b>run, from inside" == page.inner_text("h1")
        assert page.input_value("#text").startswith("</script>") and page.locator("img").count() == 0


@pytest.mark.skipif(shutil.which("firefox-esr") is None, reason="Firefox is not here: apt-get install firefox-esr")
def test_firefox_opens_it_from_disk_too(pages, tmp_path):
    """It is only looked at: a picture in which the bars of model and world are."""
    picture, address = tmp_path / "page.png", pages("pretrain").resolve().as_uri()
    command = ["firefox-esr", "--headless", "--profile", str(tmp_path), "--window-size", "1200,1500", "--screenshot"]
    subprocess.run([*command, str(picture), address], check=True, capture_output=True, timeout=120)
    pixels = (matplotlib.image.imread(picture)[..., :3] * 255).round().astype(int)
    for colour in ((42, 107, 176), (168, 84, 12)):  # --model and --world of page.css
        assert (abs(pixels - colour).max(-1) < 3).sum() > 2000
