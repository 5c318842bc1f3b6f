"""The README's example of a method works when pasted."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

from nasbench_rec.testing import check_method

README = Path(__file__).resolve().parent.parent / "README.md"


def test_the_example_method_keeps_the_contract(tmp_path):
    code = next(c for c in re.findall(r"```python\n(.*?)```", README.read_text(), re.S) if "class Half" in c)
    path = tmp_path / "half.py"
    path.write_text(code)
    check_method(f"{path}:Half")


def test_it_says_how_many_methods_there_are():
    said = re.search(r"\[(\d+) methods\]\(docs/methods/README.md\)", README.read_text())
    own = [e for e in entry_points(group="nasbench_rec.methods") if e.value.startswith("nasbench_rec.")]
    assert said is not None and int(said[1]) == len(own)
