"""The style that the whole tree keeps: short typed functions, a docstring on every public name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("nasbench_rec", "methods", "datasets", "studies", "reports")
LONGEST = 60
Function = ast.FunctionDef | ast.AsyncFunctionDef


def trees() -> Iterator[tuple[str, ast.Module]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def functions() -> Iterator[tuple[str, Function]]:
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{path}:{node.lineno} {node.name}", node


def lines(node: Function) -> int:
    """Lines of a function, from `def` on, without its docstring."""
    assert node.end_lineno is not None
    total = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node, clean=False) is None:
        return total
    text = node.body[0]
    assert text.end_lineno is not None
    return total - (text.end_lineno - text.lineno + 1)


def test_functions_are_short() -> None:
    long = {name: lines(node) for name, node in functions() if lines(node) > LONGEST}
    assert not long


def test_most_functions_are_very_short() -> None:
    sizes = [lines(node) for _, node in functions()]
    assert median(sizes) <= 9
    assert quantiles(sizes, n=10)[-1] <= 30


def untyped(node: Function) -> list[str]:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    arguments += [a for a in (node.args.vararg, node.args.kwarg) if a is not None]
    names = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
    return names + (["return"] if node.returns is None else [])


def test_functions_are_typed() -> None:
    found = {name: untyped(node) for name, node in functions()}
    assert not {name: missing for name, missing in found.items() if missing}


def public(name: str) -> bool:
    return not name.startswith("_")


def undocumented(body: list[ast.stmt], where: str) -> Iterator[str]:
    """Public functions, classes and methods without a docstring, outside functions."""
    for node in body:
        if not isinstance(node, Function | ast.ClassDef) or not public(node.name):
            continue
        property_setter = any(ast.unparse(d).endswith(".setter") for d in node.decorator_list)
        overload = any(ast.unparse(d).endswith("overload") for d in node.decorator_list)
        if ast.get_docstring(node) is None and not (property_setter or overload):
            yield f"{where}:{node.lineno} {node.name}"
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body, where)


def test_public_names_are_documented() -> None:
    missing = [name for path, tree in trees() for name in undocumented(tree.body, path)]
    missing += [path for path, tree in trees() if ast.get_docstring(tree) is None]
    assert not missing


def test_nothing_is_printed_or_evaluated() -> None:
    """Ruff forbids both too; this holds where nobody runs it."""
    calls = [
        f"{path}:{node.lineno} {node.func.id}"
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("print", "eval", "exec")
    ]
    assert not calls


def test_modules_begin_with_annotations_as_text() -> None:
    """So that types cost nothing when a module is imported."""
    missing = [
        path
        for path, tree in trees()
        if any(isinstance(n, Function | ast.AnnAssign) for n in ast.walk(tree))
        and "from __future__ import annotations" not in {ast.unparse(n) for n in tree.body[:2]}
    ]
    assert not missing


@pytest.mark.parametrize("folder", [*FOLDERS, "tests", "benchmarks", "docs"])
def test_no_machine_is_named(folder: str) -> None:
    """Paths of the machine on which it was written do not belong into the tree."""
    marks = ("/" + "work/", "/" + "root/", "/" + "home/")
    suffixes = {".py", ".md", ".toml", ".jinja", ".json"}
    texts = {p: p.read_text(encoding="utf-8") for p in (ROOT / folder).rglob("*") if p.suffix in suffixes}
    assert not [str(path) for path, text in texts.items() if any(mark in text for mark in marks)]
