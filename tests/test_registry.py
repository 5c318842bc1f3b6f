"""Methods and data sets by name: what is refused, and how it is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from nasbench_rec import registry
from nasbench_rec.config import plain
from nasbench_rec.errors import ConfigError, RegistryError
from nasbench_rec.registry import (
    DATASETS,
    METHODS,
    dataset_class,
    dataset_names,
    method_class,
    method_names,
    resolve_dataset,
    resolve_method,
)

METHOD = '''
from dataclasses import dataclass
from nasbench_rec.plans import uniform
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, Searcher, SearchState

@dataclass(frozen=True)
class Config:
    width: int = setting(4, "width")

class Mine(Searcher):
    """Mine."""
    info = MethodInfo("mine", "Mine", "field", "none", "none", ("field_dims",), "reference")
    Config = Config
    presets = {"wide": {"width": 8}}
    def search(self, task): return SearchState()
    def derive(self, task, state, size): return uniform(task.layout, self.config.width)

class Abstract(Searcher):
    info, Config = Mine.info, Config
    def search(self, task): return SearchState()

class NoInfo(Mine):
    info = None

class NoConfig(Mine):
    Config = dict

class BadName(Mine):
    info = MethodInfo("Bad Name", "Mine", "field", "none", "none", ("field_dims",), "reference")

class Other: pass
'''

Install = Callable[..., None]


@pytest.fixture
def install(registered: None, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Let entry points be these, for a group."""

    def put(group: str, points: Sequence[tuple[str, str]]) -> None:
        found = [EntryPoint(name, value, group) for name, value in points]
        monkeypatch.setattr(registry, "entry_points", lambda group: [p for p in found if p.group == group])
        registry._points.cache_clear()

    return put


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A third party's module that can be imported."""
    name = f"third_party_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(METHOD)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_what_is_in_the_tree_is_registered() -> None:
    assert {"fixed", "random", "mde", "autodim", "autoemb", "magnitude", "ihas"} <= set(method_names())
    assert {"planted", "frappe"} <= set(dataset_names())
    assert method_names() == sorted(method_names())


def test_third_parties_register_alike(install: Install, module: str) -> None:
    install(METHODS, [("mine", f"{module}:Mine")])
    assert method_names() == ["mine"]
    method = resolve_method("mine/wide")
    assert (method.name, method.config.width, method.code) == ("mine/wide", 8, "")
    assert resolve_method("mine", {"width": 3}).config.width == 3


def test_one_name_for_two_methods_is_refused(install: Install, module: str) -> None:
    install(METHODS, [("mine", f"{module}:Mine"), ("mine", "elsewhere:Mine")])
    with pytest.raises(RegistryError, match="'mine' is registered twice .*elsewhere:Mine; uninstall one"):
        method_names()


def test_the_same_entry_point_twice_is_one(install: Install, module: str) -> None:
    """An editable install beside its metadata folder."""
    install(METHODS, [("mine", f"{module}:Mine")] * 2)
    assert method_names() == ["mine"]


@pytest.mark.parametrize("name", ["Mine", "my method", "1mine", "my_method", "mine/wide", "-mine", "mine:x"])
def test_malformed_names_are_refused(install: Install, module: str, name: str) -> None:
    install(METHODS, [(name, f"{module}:Mine")])
    with pytest.raises(RegistryError, match=f"'{name}' .* is no valid name"):
        method_names()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("no_such_module_at_all:Mine", "cannot be loaded: ModuleNotFoundError"),
        ("{module}:Nothing", "cannot be loaded: AttributeError"),
        ("{module}:Other", "is not a subclass of nasbench_rec.searcher.Searcher"),
        ("{module}:Config", "is not a subclass"),
        ("{module}:Abstract", "does not define derive"),
        ("{module}:NoInfo", "has no `info: MethodInfo`"),
        ("{module}:NoConfig", "has no `Config` dataclass"),
    ],
)
def test_a_broken_third_party_is_one_clear_error(
    install: Install, module: str, value: str, says: str
) -> None:
    install(METHODS, [("mine", value.format(module=module)), ("whole", f"{module}:Mine")])
    with pytest.raises(RegistryError, match="method 'mine'.*" + says):
        method_class("mine")
    assert method_names() == ["mine", "whole"]  # the others still list


def test_an_import_that_raises_is_one_clear_error(install: Install, tmp_path: Path, module: str) -> None:
    (tmp_path / "broken_third_party.py").write_text("1 / 0")
    install(METHODS, [("mine", "broken_third_party:Mine")])
    says = "cannot be loaded: ZeroDivisionError: division by zero. Mend or uninstall"
    with pytest.raises(RegistryError, match=says) as error:
        method_class("mine")
    assert error.value.__cause__ is None and "\n" not in str(error.value)


def test_both_names_must_agree(install: Install, module: str) -> None:
    install(METHODS, [("yours", f"{module}:Mine")])
    with pytest.raises(RegistryError, match="calls itself 'mine'"):
        method_class("yours")


def test_the_nearest_name_is_given() -> None:
    with pytest.raises(ConfigError, match="unknown method 'autodmi'; did you mean 'autodim'"):
        method_class("autodmi")
    with pytest.raises(ConfigError, match="unknown data set 'plantd'; did you mean 'planted'"):
        dataset_class("plantd")
    with pytest.raises(ConfigError, match="unknown preset of 'random' 'x'. Known: none"):
        resolve_method("random/x")
    with pytest.raises(ConfigError, match="method 'random': unknown setting 'ration'; did you mean 'ratio'"):
        resolve_method("random", {"ration": 1})


def test_methods_by_file(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(METHOD)
    method = resolve_method(f"{path}:Mine", {"width": 2})
    assert method.name == "mine" and method.searcher().config.width == 2 and len(method.code) == 20
    path.write_text(METHOD + "\n# changed\n")
    assert resolve_method(f"{path}:Mine").code != method.code


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Nothing", "has no class 'Nothing'"),
        ("Other", "is not a subclass"),
        ("BadName", "'Bad Name' is no valid name"),
        ("Abstract", "does not define derive"),
    ],
)
def test_files_that_hold_no_method(tmp_path: Path, name: str, says: str) -> None:
    path = tmp_path / "own.py"
    path.write_text(METHOD)
    with pytest.raises(RegistryError, match=says):
        method_class(f"{path}:{name}")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="cannot be loaded: FileNotFoundError: no such file"):
        method_class(f"{tmp_path / 'none.py'}:Mine")
    (tmp_path / "bad.py").write_text("def f(:\n")
    with pytest.raises(RegistryError, match="cannot be loaded: SyntaxError"):
        method_class(f"{tmp_path / 'bad.py'}:Mine")
    with pytest.raises(RegistryError, match="cannot be loaded: ModuleNotFoundError"):
        method_class("no_such_module_at_all:Mine")


def test_methods_by_module(module: str) -> None:
    assert resolve_method(f"{module}:Mine").name == "mine"


def test_data_sets_are_checked(install: Install, module: str) -> None:
    install(DATASETS, [("mine", f"{module}:Mine")])
    with pytest.raises(RegistryError, match="data set 'mine': is not a subclass"):
        dataset_class("mine")


@pytest.mark.parametrize("name", ["planted", "frappe"])
def test_data_sets_have_what_users_see(name: str) -> None:
    source = resolve_dataset(name)
    info = source.info
    assert info.name == name and all((info.title, info.rows, info.licence, info.source))
    from dataclasses import fields

    assert all(f.metadata.get("help") for f in fields(source.config))
    assert resolve_dataset(name, plain(source.config)).config == source.config
