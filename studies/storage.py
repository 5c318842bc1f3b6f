"""Where a study's trials stand: an Optuna storage, a journal file in the study's folder unless a URL is given."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasbench_rec.studies.running import folder_of, read_head
from nasbench_rec.studies.study import BoundStudy

from nasbench_rec.errors import StoreError
from nasbench_rec.store import Store

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

JOURNAL = "optuna.journal"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's own lines and its notes on experimental parts out of the way; its errors stay."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


def journal_storage(path: Path) -> BaseStorage:
    """Return the storage of a journal file, which is made if it is not there."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read as a journal of Optuna ({error}).") from None


def mend_journal(path: Path) -> None:
    """Cut off a last line that a killed process wrote by halves, and drop its lock. Only for the one driver."""
    Path(f"{path}.lock").unlink(missing_ok=True)
    if not path.is_file():
        return
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)


def open_storage(folder: Path, url: str | None) -> BaseStorage:
    """Return the storage of a study: its journal file, or the database at `url`."""
    from optuna.storages import RDBStorage

    if url is None:
        return journal_storage(folder / JOURNAL)
    try:
        return RDBStorage(url)
    except Exception as error:  # noqa: BLE001 - whatever a database's driver raises
        text = str(error).strip().splitlines()[0]
        raise StoreError(f"--storage {url}: cannot be opened ({type(error).__name__}: {text}).") from None


def create(bound: BoundStudy, name: str, engine: str, storage: BaseStorage) -> optuna.Study:
    """Return the Optuna study of this name, made if it is not there."""
    import optuna

    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=[goal.direction for goal in bound.study.goals()],
        load_if_exists=True,
    )
    known = {"name": name, "engine": engine, "definition": bound.describe()}
    for key, value in known.items():
        if study.user_attrs.get(key) != value:
            study.set_user_attr(key, value)
    names = [goal.name for goal in bound.study.goals()]
    if study.metric_names != names:
        study.set_metric_names(names)
    return study


def load(name: str, store: str | Path | Store = "results") -> optuna.Study:
    """Return a study of a store as Optuna's own object.

    `StoreError` names the studies that are there. `optuna-dashboard STORE/studies/NAME/optuna.journal` opens the
    same storage.
    """
    import optuna

    store = store if isinstance(store, Store) else Store(store)
    head: dict[str, Any] = read_head(store, name)
    storage = open_storage(folder_of(store, name), head["storage"])
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        raise StoreError(f"{store.path}: the study {name!r} has no trial yet; run it first.") from None
