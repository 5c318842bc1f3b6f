"""Which way imports point, and what stays out of memory until it is needed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("methods", "datasets", "studies", "reports")
HEAVY = ("torch", "ray", "sklearn", "pandas", "optuna", "matplotlib", "polars", "scipy", "pyarrow")
ALLOWED = {"methods": {"methods"}, "datasets": {"datasets"}, "studies": {"studies", "methods", "datasets"}}
"""Which of the folders each folder may import beside the core; `reports`: itself."""


def sources(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, folder
    return found


def imported(path: Path, *, top_only: bool = False) -> Iterator[str]:
    """Every module that a file imports; with `top_only` those imported when the file is."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skip = set()
    for node in ast.walk(tree):
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if top_only and (lazy or typing_only):
            skip |= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skip:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def folders_imported(path: Path, **options: bool) -> set[str]:
    parts = [name.split(".") for name in imported(path, **options)]
    return {p[1] for p in parts if len(p) > 1 and p[0] == "nasbench_rec" and p[1] in FOLDERS}


@pytest.mark.parametrize("path", sources("nasbench_rec"), ids=lambda p: p.stem)
def test_the_core_imports_none_of_the_folders(path: Path) -> None:
    """The command line may, inside its verbs."""
    assert folders_imported(path, top_only=path.name == "cli.py") == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_import_the_core_and_what_they_may(folder: str) -> None:
    allowed = ALLOWED.get(folder, {folder})
    wrong = {str(path): folders_imported(path) - allowed for path in sources(folder)}
    assert not {path: names for path, names in wrong.items() if names}


@pytest.mark.parametrize("folder", ["nasbench_rec", *FOLDERS, "tests", "benchmarks"])
def test_folders_are_imported_as_parts_of_the_package(folder: str) -> None:
    """`import datasets` would be another package's."""
    wrong = [
        (str(path), name)
        for path in sources(folder)
        for name in imported(path)
        if name.split(".")[0] in FOLDERS
    ]
    assert not wrong


@pytest.mark.parametrize("folder", ["nasbench_rec", *FOLDERS])
def test_nothing_is_pickled(folder: str) -> None:
    wrong = [
        (str(path), name)
        for path in sources(folder)
        for name in imported(path)
        if name.split(".")[0] in ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve")
    ]
    assert not wrong


def loaded(code: str) -> set[str]:
    """The top-level packages in memory after `code` ran in a fresh process."""
    report = "\nimport sys\nprint(*{name.split('.')[0] for name in sys.modules})"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("COV_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-c", code + report],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("module", ["nasbench_rec", "nasbench_rec.cli"])
def test_importing_the_package_or_the_command_line_is_light(module: str) -> None:
    assert loaded(f"import {module}") & set(HEAVY) == set()


def test_help_is_light() -> None:
    code = """
import contextlib, io, sys
from nasbench_rec import cli
sys.argv = ["nasbench-rec", "--help"]
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    cli.main()
"""
    assert loaded(code) & set(HEAVY) == set()


def test_reports_need_neither_torch_nor_ray() -> None:
    """A leaderboard is made from records, on a machine that has nothing else."""
    modules = [f"nasbench_rec.reports.{p.stem}" for p in sources("reports") if p.stem != "__init__"]
    found = loaded("import nasbench_rec.reports\n" + "\n".join(f"import {module}" for module in modules))
    assert found & {"torch", "ray", "optuna", "sklearn"} == set()


def test_records_are_read_without_torch() -> None:
    assert loaded("from nasbench_rec.store import Store\nlist(Store('nowhere'))") & set(HEAVY) == set()


def test_the_contract_suite_needs_no_pytest() -> None:
    """It is shipped to third parties."""
    assert "pytest" not in loaded("import nasbench_rec.testing")
    assert "pytest" not in {name.split(".")[0] for name in imported(ROOT / "nasbench_rec" / "testing.py")}


def test_data_are_prepared_without_torch(tmp_path: Path) -> None:
    """Two seconds that nobody who looks at data needs to wait."""
    code = f"""
import contextlib, sys
from nasbench_rec import cli
with contextlib.suppress(SystemExit):
    cli.main(["data", "prepare", "planted", "--store", {str(tmp_path)!r}, "--set", "planted.train=500"])
"""
    assert loaded(code) & {"torch", "ray", "optuna", "sklearn", "matplotlib"} == set()
