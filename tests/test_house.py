"""The house rules: who may import whom, what the README promises, and that everything public says what it is."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "minillm").rglob("*.py"))
ALONE = {"bpe", "metrics", "losses", "optim", "attention", "corpus", "dedup", "markup", "engines", "files"}
MODELS = {"transformer", "recipes", "families", "pretrained", "bigram", "lstm", "attention"}
NOT_FOR_MODELS = {"tokenizer", "data", "losses", "trainer", "peft", "align", "cli", "plots", "stages"}
RUNTIME = {"torch", "numpy", "tiktoken", "tqdm", "matplotlib", "minillm"}
STANDARD = set(__import__("sys").stdlib_module_names)


def imports(path: Path) -> set[str]:
    """Every module that a file imports, in full."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms(path: Path) -> set[str]:
    """The rooms of minillm that a file imports: "minillm.tales.words" is in "tales"."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("minillm.")} - {"__version__"}


def test_the_foundations_import_nothing_of_ours():
    for name in ALONE:
        files = [ROOT / "minillm" / f"{name}.py", *(ROOT / "minillm" / name).glob("*.py")]
        for path in filter(Path.exists, files):
            assert not rooms(path) - {name}, path


def test_models_know_nothing_of_text_training_or_adapters():
    for name in MODELS:
        assert not rooms(ROOT / "minillm" / f"{name}.py") & NOT_FOR_MODELS, name


def test_adapters_know_no_model():
    known = {"attention", "families"}  # a formula and a table of names
    for path in (ROOT / "minillm" / "peft").glob("*.py"):
        assert not rooms(path) & (MODELS - known), path


def test_only_plots_imports_matplotlib_and_nothing_imports_more_than_the_five_packages():
    for path in MODULES:
        roots = {name.split(".")[0] for name in imports(path)}
        assert roots <= RUNTIME | STANDARD, (path, roots - RUNTIME - STANDARD)
        assert "matplotlib" not in roots or path.name == "plots.py", path


def test_nothing_is_unpickled_or_executed():
    for path in [*MODULES, ROOT / "train.py"]:
        text = path.read_text()
        assert not imports(path) & {"pickle", "shelve", "marshal"}, path
        assert not re.search(r"\btorch\.(load|save)\(|\bexec\(|\beval\(['\"]", text), path


def public_definitions(path: Path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_and_everything_public_says_what_it_is_and_stays_readable(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "a module docstring"
    assert text.count("\n") <= 320, "a second idea has moved in"
    for node in public_definitions(path):
        assert ast.get_docstring(node), node.name
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


def test_the_readme_shows_the_two_commands_and_a_tree_of_what_is_there():
    readme = (ROOT / "README.md").read_text()
    assert "pip install -r requirements.txt && python train.py" in readme
    assert "pip install -r requirements-dev.txt && python -m pytest" in readme
    tree = next(part for part in readme.split("```") if "  bpe.py" in part)
    shown = set(re.findall(r"^\s*([\w.]+(?:\.py|\.txt|\.md|\.toml|/))", tree, re.M))
    for name in shown:
        assert list(ROOT.glob(f"**/{name.rstrip('/')}")), f"the README's tree names {name}, which is not there"
    top = {path.name for path in (ROOT / "minillm").glob("*.py")} - {"__init__.py"}
    top |= {f"{path.parent.name}/" for path in (ROOT / "minillm").glob("*/__init__.py")}
    assert top <= shown, f"the README's tree lacks {sorted(top - shown)}"


def test_the_pins_are_exact_and_within_the_package_s_ranges():
    pins = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line]
    assert all("==" in pin for pin in pins)
    assert {pin.split("==")[0] for pin in pins} == RUNTIME - {"minillm"}
    assert (ROOT / "requirements-dev.txt").read_text().startswith("-r requirements.txt\n")
