"""The house rules: which room may import which, that faces are used, that everything public says what it is."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "minillm"
MODULES = sorted(PACKAGE.rglob("*.py"))
FLOORS = {  # a room imports from lower floors only
    **dict.fromkeys(("system", "metrics"), 1),
    **dict.fromkeys(("text", "models"), 2),
    **dict.fromkeys(("tales", "data", "report"), 3),
    "training": 4,
    **dict.fromkeys(("peft", "inference"), 5),
    **dict.fromkeys(("hub", "align"), 6),
    "course": 7,
    "cli": 8,
}
ROOMS = tuple(FLOORS)
RUNTIME = {"torch", "numpy", "tiktoken", "tqdm", "matplotlib", "minillm"}
STANDARD = set(__import__("sys").stdlib_module_names)


def imports(text: str) -> list[tuple[str, str]]:
    """Every (module, name) that a text imports, wherever in it; name is "" for a plain import."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found += [(node.module, alias.name) for alias in node.names]
    return found


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def offered(room: str) -> set[str]:
    """The names on the face of a room, and its files."""
    face = (PACKAGE / room / "__init__.py").read_text()
    return {name for _, name in imports(face)} | {path.stem for path in (PACKAGE / room).iterdir()}


def file_of(module: str, name: str) -> Path:
    """The file that an import reads: of a module in a package, that module."""
    path = ROOT / module.replace(".", "/")
    if (path / f"{name}.py").exists() and (path / "__init__.py").exists():
        return path / f"{name}.py"
    path = path / name if (path / name / "__init__.py").exists() else path
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_at_the_top_there_are_rooms_and_nothing_else():
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_lower_floors_by_their_faces_and_its_own_room_by_file(path):
    if path.parent == PACKAGE:
        return
    own = room_of(path)
    for module, name in imports(path.read_text()):
        if not module.startswith("minillm"):
            continue
        if module == "minillm":  # from minillm import tales
            module, name = f"minillm.{name}", ""
        parts = module.split(".")
        if parts[1] == "__version__":
            continue
        if parts[1] == own:
            file = PACKAGE / own / f"{name}.py"
            assert len(parts) > 2 or file.exists(), f"{module}: of the own room, name the file"
        else:
            assert FLOORS[parts[1]] < FLOORS[own], f"{own} stands below {parts[1]}"
            assert len(parts) == 2, f"{module}: of another room, use the face"
            assert not name or name in offered(parts[1]), f"{module} does not offer {name}"


def test_no_two_files_import_each_other_in_a_circle():
    graph = {
        path: {file_of(*found) for found in imports(path.read_text()) if found[0].split(".")[0] == "minillm"}
        for path in MODULES
    }
    done, walking = set(), []

    def walk(path):
        assert path not in walking, " -> ".join(str(p.relative_to(ROOT)) for p in [*walking, path])
        if path not in done:
            walking.append(path)
            for other in sorted(graph[path]):
                walk(other)
            done.add(walking.pop())

    for path in MODULES:
        walk(path)


def outside() -> list[tuple[str, str]]:
    """The code outside the library: the benchmarks, and the cells of the notebooks."""
    found = [(str(path.relative_to(ROOT)), path.read_text()) for path in (ROOT / "benchmarks").glob("*.py")]
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for number, cell in enumerate(json.loads(path.read_text())["cells"]):
            if cell["cell_type"] == "code":
                found.append((f"{path.name} cell {number}", "".join(cell["source"])))
    return found


def test_benchmarks_and_lessons_use_the_faces():
    for where, text in outside():
        for module, name in imports(text):
            if module.startswith("minillm"):
                parts = module.split(".")
                assert len(parts) <= 2, f"{where}: {module}"
                assert len(parts) == 1 or name in offered(parts[1]), f"{where}: {module} does not offer {name}"


def test_lessons_take_nothing_from_the_command_line_but_its_main():
    for where, text in outside():
        if ".ipynb" in where:
            assert not {name for module, name in imports(text) if module == "minillm.cli"} - {"main"}, where


@pytest.mark.parametrize("room", ROOMS)
def test_the_face_of_a_room_says_what_is_in_it_and_only_hands_names_on(room):
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text())
    text = ast.get_docstring(tree)
    assert len(text.splitlines()) >= 3, "what is in it, and in what order to read it"
    assert all(isinstance(node, ast.ImportFrom | ast.Expr) for node in tree.body)
    for path in (PACKAGE / room).glob("*.py"):
        if path.name != "__init__.py":
            assert re.search(rf"\b{path.stem}\b", text), f"the face of {room} does not name {path.stem}"


def test_models_know_nothing_of_text_training_or_adapters():
    for path in (PACKAGE / "models").glob("*.py"):
        assert {module.split(".")[1] for module, _ in imports(path.read_text()) if module.startswith("minillm.")} <= {
            "models"
        }, path


def test_only_plots_imports_matplotlib_and_nothing_imports_more_than_the_five_packages():
    for path in MODULES:
        roots = {module.split(".")[0] for module, _ in imports(path.read_text())}
        assert roots <= RUNTIME | STANDARD, (path, roots - RUNTIME - STANDARD)
        assert "matplotlib" not in roots or path.name == "plots.py", path


def test_nothing_is_unpickled_or_executed():
    for path in [*MODULES, ROOT / "train.py"]:
        text = path.read_text()
        assert not {module for module, _ in imports(text)} & {"pickle", "shelve", "marshal"}, path
        assert not re.search(r"\btorch\.(load|save)\(|\bexec\(|\beval\(['\"]", text), path


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_and_everything_public_says_what_it_is_and_stays_readable(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module docstring"
    assert text.count("\n") <= 320, "a second idea has moved in"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and path.name != "plots.py":
            assert node.end_lineno - node.lineno + 1 <= 40, node.name


def test_the_library_does_not_grow_without_a_reason():
    lines = sum(path.read_text().count("\n") for path in MODULES if "course" not in path.parts)
    # A fifth of it for real models: families, tokenizers, GGUF, templates; as much for the page, shards and many
    # processes, a GPU, and what the newer lessons stand on: other architectures, probes, quantization, retrieval.
    # A ninth of it draws the diagrams of the lessons; a thirtieth says what a machine can do and what a run will take.
    assert lines <= 37_000


def readme() -> str:
    return (ROOT / "README.md").read_text()


def test_the_readme_shows_the_two_commands_and_a_tree_of_what_is_there():
    assert "pip install -r requirements.txt && python train.py" in readme()
    assert "pip install -r requirements-dev.txt && python -m pytest" in readme()
    tree = next(part for part in readme().split("```") if "minillm/\n" in part)
    shown = set(re.findall(r"^\s*([\w.]+(?:\.py|\.txt|\.md|\.toml|/))", tree, re.M))
    for name in shown:
        assert list(ROOT.glob(f"**/{name.rstrip('/')}")), f"the README's tree names {name}, which is not there"
    assert {f"{room}/" for room in ROOMS} <= shown


def test_the_core_path_is_listed_as_long_as_it_is_and_can_be_printed():
    rows = re.findall(r"^\| `minillm/([\w/]+\.py)` \|.*\| (\d+) \|$", readme(), re.M)
    assert len(rows) >= 9
    for name, lines in rows:
        assert (PACKAGE / name).read_text().count("\n") == int(lines), name
    total = sum(int(lines) for _, lines in rows)
    assert total <= 2_500 and f"{total:,} lines" in readme()


def test_the_examples_of_the_readme_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    codes = re.findall(r"^```python\n(.*?)^```", readme(), re.M | re.S)
    assert len(codes) >= 2
    for code in codes:
        assert len(code.strip().splitlines()) <= 16
        exec(compile(code, "README.md", "exec"), {})


def test_the_pins_are_exact_and_within_the_package_s_ranges():
    pins = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] not in "#-"]
    assert all("==" in pin for pin in pins)
    assert {pin.split("==")[0] for pin in pins} == RUNTIME - {"minillm"}
    assert (ROOT / "requirements-dev.txt").read_text().startswith("-r requirements.txt\n")
