"""How much there is to read: lines, the longest function and the number of tests of Python projects.

    python benchmarks/peers.py FOLDER ...                    one row for each checkout or unpacked wheel
    python benchmarks/peers.py                               ours

Lines are those of every .py file outside tests, blank ones and comments included; notebooks do not count. A test is a
function whose name begins with "test" in a folder or file whose name does; parametrised ones count once.
"""

import argparse
import ast
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


class Size(NamedTuple):
    """What was counted in a folder."""

    files: int
    lines: int
    longest: int  # lines of the longest function
    where: str
    tests: int


def measure(folder: Path) -> Size:
    """Count a folder. Files that are no Python of today are passed over."""
    files = lines = longest = tests = 0
    where = ""
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        try:
            functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, FUNCTIONS)]
        except SyntaxError:
            continue
        if any(part.startswith("test") for part in path.relative_to(folder).parts):
            tests += sum(node.name.startswith("test") for node in functions)
            continue
        files, lines = files + 1, lines + text.count("\n")
        for node in functions:
            if node.end_lineno - node.lineno + 1 > longest:
                longest, where = node.end_lineno - node.lineno + 1, f"{path.relative_to(folder)}:{node.name}"
    return Size(files, lines, longest, where, tests)


def main() -> None:
    """Print a row for each folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=[ROOT / "minillm", ROOT / "tests"])
    print("| project | files | lines | longest function | tests |\n|---|---|---|---|---|")
    for folder in parser.parse_args().folders:
        size = measure(folder)
        print(f"| {folder.name} | {size.files} | {size.lines:,} | {size.longest} ({size.where}) | {size.tests} |")


if __name__ == "__main__":
    main()
