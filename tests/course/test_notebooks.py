"""The lessons: their anatomy, their exercises, and, with -m lessons, that each runs from top to bottom by itself."""

import ast
import base64
import html
import json
import re
from pathlib import Path

import pytest
import torch

from minillm.course.exercises import grade, untouched
from minillm.report.diagrams import LESSONS, draw

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
each_lesson = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def definitions() -> dict[str, str]:
    """Every public class and function of the library, and where it is."""
    found = {}
    for path in (ROOT / "minillm").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                found[node.name] = str(path.relative_to(ROOT))
    return found


FOLDED_PNG = re.compile(r'data:image/png;base64,([^"]+)')


def diagram_of(cell: dict) -> str:
    """The name of the diagram that a cell shows and does nothing else; empty for any other cell."""
    found = re.fullmatch(r"diagrams\.(\w+)\([^\n]*\)", source(cell))
    return found[1] if found else ""


def words(cell: dict) -> int:
    """Words of prose: folded parts, tables, formulas and links to neighbours are looked up, not read through."""
    aside = r"<details>.*?</details>|```.*?```|\$\$.*?\$\$|^\|.*?$|^\*\*You need.*?$"
    aside += r"|^[^\n]*\[contents\]\(README.md\)[^\n]*$"
    text = re.sub(aside, "", source(cell), flags=re.S | re.M)
    return len(text.split())


def test_the_table_of_contents_names_every_lesson_and_its_question():
    contents = (ROOT / "notebooks" / "README.md").read_text()
    for path in NOTEBOOKS:
        title = source(cells(path, "markdown")[0]).splitlines()[0]
        assert re.search(rf"^\| \[.*\]\({path.name}\) \| {re.escape(title.split(' · ')[1])} \|", contents, re.M), title
    assert len(re.findall(r"^\| \[\d\d [^\]]+\]\(", contents, re.M)) == len(NOTEBOOKS)


@each_lesson
def test_the_map_says_of_a_lesson_what_the_lesson_says_of_itself(path):
    contents = (ROOT / "notebooks" / "README.md").read_text()
    before, minutes, exercises, stars = re.search(
        rf"\]\({path.name}\) \| [^|]+ \| ([^|]+) \| (\d+) min \| (\d+) min \| (★+) \|", contents
    ).groups()
    text = "\n".join(source(cell) for cell in cells(path, "markdown"))
    need = re.search(r"^\*\*You need\*\* (.+) \*\*It takes\*\*", text, re.M)[1]
    first, *more = (int(number) for number in re.findall(r"\((\d\d)_", need) or [0])
    known = {first, *more} if " to [" not in need else set(range(first, more[-1] + 1))
    assert {int(number) for number in re.findall(r"\((\d\d)_", before) or [0]} == known
    you = re.search(r"and you about (\d+) (minutes|hours)", text)
    assert int(you[1]) * (60 if you[2] == "hours" else 1) == int(minutes)
    assert sum(map(int, re.findall(r"^★+ · about (\d+) minutes$", text, re.M))) == int(exercises)
    assert re.search(r"\*\*How hard:\*\* (★+) of", text)[1] == stars


@each_lesson
def test_a_lesson_links_to_the_one_before_and_the_one_after_and_says_its_own_number(path):
    prose, place = cells(path, "markdown"), NOTEBOOKS.index(path)
    title, _, links = source(prose[0]).splitlines()[:3]
    assert title.startswith(f"# {path.name[:2]} · ")
    near = [other.name for other in NOTEBOOKS[max(place - 1, 0) : place + 2] if other != path]
    assert re.findall(r"\((\S+)\)", links) == [*near[: bool(place)], "README.md", *near[bool(place) :]]
    if path != NOTEBOOKS[-1]:
        ends = [text for text in map(source, prose) if "**Next:**" in text]
        assert len(ends) == 1 and f"**Next:** lesson {near[-1][:2]}, [" in ends[0] and f"({near[-1]})" in ends[0]


@each_lesson
def test_a_lesson_has_the_size_of_a_lesson(path):
    code, prose = cells(path, "code"), cells(path, "markdown")
    assert 14 <= len([cell for cell in code if not diagram_of(cell)]) <= 38, len(code)
    for cell in code:
        assert len(source(cell).splitlines()) <= 20 + 2 * ("folded(" in source(cell)), source(cell)
    for cell in prose:
        assert words(cell) <= 150, source(cell)
    pictures = [data for cell in code for output in cell["outputs"] for data in output.get("data", {}).items()]
    sizes = [len(base64.b64decode("".join(data))) for kind, data in pictures if kind == "image/png"]
    folded = "".join("".join(text) for kind, text in pictures if kind == "text/html")
    sizes += [3 * len(data) // 4 for data in FOLDED_PNG.findall(folded)]
    assert sizes and max(sizes) <= 90_000, sizes


@each_lesson
def test_a_lesson_says_what_it_needs_how_long_it_takes_and_how_hard_it_is(path):
    head = "\n".join(source(cell) for cell in cells(path, "markdown")[:3])
    need, takes = r"\*\*You need\*\* (.+)", r"\*\*It takes\*\* the machine (.+), and you about (.+)\."
    line = re.search(rf"^{need} {takes} \*\*How hard:\*\* (★{{1,3}}) ", head, re.M)
    assert line, head
    before = re.findall(r"\[(\d\d)\]\((\S+)\)", line[1])
    assert path.name[:2] == "01" or before, "what comes before it is linked"
    for number, file in before:
        assert number < path.name[:2] and file[:2] == number and (path.parent / file).exists()


@each_lesson
def test_every_exercise_says_how_hard_and_how_long_it_is_and_they_get_harder(path):
    text = "\n".join(source(cell) for cell in cells(path, "markdown"))
    tasks = re.findall(r"^(?:(★{1,3}) · about (\d+) minutes\n\n)?\*\*(\d)\. ", text, re.M)
    assert [number for *_, number in tasks] == [str(i + 1) for i in range(len(stubs(path)))]
    assert all(stars and minutes for stars, minutes, _ in tasks)
    assert len(tasks[0][0]) == 1 and len(tasks[-1][0]) == 3


@each_lesson
def test_a_lesson_shows_its_diagrams_with_a_text_for_those_who_do_not_see_them(path):
    shown = {diagram_of(cell): cell for cell in cells(path, "code") if diagram_of(cell)}
    assert len(shown) >= 2 and set(shown) <= set(LESSONS[path.stem])
    for name, cell in shown.items():
        (output,) = cell["outputs"]
        canvas = draw(name)
        assert "".join(output["data"]["text/html"]) == canvas._repr_html_(), f"{name}: run the cell again"
        assert f'alt="{html.escape(canvas.alt)}"' in canvas._repr_html_()


@each_lesson
def test_what_answers_a_guess_is_stored_folded(path):
    code, open_guess = cells(path, "code"), False
    for cell in code:
        text = source(cell)
        open_guess |= bool(re.search(r"^guess = (?:None|\[\])", text, re.M))
        if open_guess and "folded(" in text:
            (output,) = [o for o in cell["outputs"] if "text/html" in o.get("data", {})]
            assert "".join(output["data"]["text/html"]).startswith("<details><summary>")
            assert "<summary>" not in "".join(output["data"]["text/plain"])
            open_guess = False
        elif open_guess:
            assert "image/png" not in str(cell["outputs"]), f"an answer that is not folded: {text[:200]}"
    assert not open_guess, "a guess without an answer"


@each_lesson
def test_what_is_folded_in_prose_is_read_as_markdown(path):
    for cell in cells(path, "markdown"):
        text = re.sub(r"`[^`\n]*`", "", source(cell))
        assert text.count("</summary>") == text.count("</summary>\n\n"), "a blank line must follow </summary>"
        assert text.count("</details>") == text.count("\n\n</details>"), "and stand before </details>"


@each_lesson
def test_stored_outputs_are_there_and_none_is_an_error(path):
    code = cells(path, "code")
    assert any(cell["outputs"] for cell in code) and all(cell["execution_count"] for cell in code)
    assert not [o for cell in code for o in cell["outputs"] if o["output_type"] == "error"]
    assert any("assert" in source(cell) for cell in code)
    machine = re.compile(r"/(?:home|root|tmp|Users|work)/")
    for cell in code:
        text = json.dumps([o.get("text", "") for o in cell["outputs"]])
        assert not machine.search(text), f"a path of one machine: {text[:200]}"


@each_lesson
def test_a_lesson_imports_the_library_and_never_defines_it_again(path):
    library = definitions()
    for cell in cells(path, "code"):
        for name in re.findall(r"^(?:def|class) (\w+)", source(cell), re.M):
            assert name not in library or "check(" in source(cell), f"{name} is in {library[name]}"


def stubs(path: Path) -> dict[str, str]:
    """The exercises of a lesson: name to the cell that holds the stub."""
    found = {}
    for cell in cells(path, "code"):
        for name in re.findall(r'^check\("([^"]+)", \w+\)', source(cell), re.M):
            found[name] = source(cell)
    return found


def solutions(path: Path) -> dict[str, str]:
    """The folded solutions of a lesson: the name of the function to the code."""
    found = {}
    for cell in cells(path, "markdown"):
        for folded in re.findall(r"<details>(.*?)</details>", source(cell), re.S):
            for code in re.findall(r"```python\n(.*?)```", folded, re.S):
                for name in re.findall(r"^def (\w+)", code, re.M):
                    found[name] = code
    return found


def run(code: str) -> dict:
    namespace = {}
    exec(compile(code, "<exercise>", "exec"), namespace)
    return namespace


@each_lesson
def test_every_exercise_is_unanswered_as_stored_and_its_folded_solution_is_right(path):
    exercises, folded = stubs(path), solutions(path)
    assert 3 <= len(exercises) <= 6
    for name, cell in exercises.items():
        function = re.search(rf'^check\("{re.escape(name)}", (\w+)\)', cell, re.M).group(1)
        stub = run(cell.replace("check(", "(lambda *_: None)("))[function]
        assert untouched(stub) and stub.__doc__, name
        assert function in folded, f"no folded solution of {name}"
        verdict = grade(name, run(folded[function])[function])
        assert verdict.status == "right", (name, verdict)


@pytest.mark.lessons
def test_the_default_run_is_what_the_readme_promises():
    from minillm import tales
    from minillm.course.models import trained
    from minillm.hub import load_model, load_tokenizer
    from minillm.inference import write

    run = trained("pretrain")
    metrics = json.loads((run.path / "metrics.json").read_text())
    row = re.search(r"^\| `python train.py` \|.*", (ROOT / "README.md").read_text(), re.M)[0]
    loss, bigram, floor = map(float, re.search(r"([\d.]+); bigram ([\d.]+), floor ([\d.]+)", row).groups())
    assert metrics["val_loss"] == pytest.approx(loss, abs=0.015)
    assert (metrics["bigram_loss"], metrics["floor"]) == pytest.approx((bigram, floor), abs=6e-4)
    assert metrics["gap_closed"] > 0.95
    generator = torch.Generator().manual_seed(0)
    texts = write(load_model(run.path), load_tokenizer(run), [""] * 200, 256, generator=generator)
    assert sum(tales.judge(text).score == 1 for text in texts) / 200 > 0.8


@pytest.mark.lessons
@each_lesson
def test_a_lesson_runs_from_top_to_bottom_alone_from_any_folder(path, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = [o.get("text", "") for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    assert sum(text.count(": not answered yet") for text in printed) == len(stubs(path))
