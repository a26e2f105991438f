"""Files and functions stay small: the tail of long ones is what makes a code base unpleasant."""

import ast
from pathlib import Path

from tests.architecture.source_tree import parse, python_files, short

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
FOLDERS = ("src", "tests", "tools", "bench", "examples")


def long_file(text: str) -> str | None:
    lines = len(text.splitlines())
    return f"{lines} lines" if lines > MAX_FILE_LINES else None


def long_functions(tree: ast.Module) -> list[str]:
    return [
        f"{node.lineno} {node.name}: {lines} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]


def page_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_no_file_is_longer_than_a_person_reads_at_once():
    found = {short(p): long_file(page_of(p)) for p in python_files(*FOLDERS)}
    assert {name: what for name, what in found.items() if what} == {}


def test_no_function_is_longer_than_a_screen():
    found = {short(p): long_functions(parse(p)) for p in python_files(*FOLDERS)}
    assert {name: what for name, what in found.items() if what} == {}


def test_the_limits_bite():
    body = "    pass\n" * MAX_FUNCTION_LINES
    assert long_functions(ast.parse(f"async def planted():\n{body}")) == ["1 planted: 61 lines"]
    assert long_functions(ast.parse(f"def fits():\n{body[9:]}")) == []
    assert long_file("x = 1\n" * (MAX_FILE_LINES + 1)) == "501 lines"
    assert long_file("x = 1\n" * MAX_FILE_LINES) is None
