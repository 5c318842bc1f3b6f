"""Running a study with either engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nasbench_rec.studies.running import Engine, Options, TrialObserver
from nasbench_rec.studies.study import Study

from nasbench_rec.errors import ConfigError, unknown
from nasbench_rec.store import Store


class Silent:
    """Hears of trials and says nothing."""

    def started(self, total: int, done: int) -> None:
        """Nothing."""

    def finished(self, line: dict[str, Any], /) -> None:
        """Nothing."""


def run(
    study: Study,
    name: str,
    store: str | Path | Store = "results",
    engine: Engine = "optuna",
    options: Options | None = None,
    observer: TrialObserver | None = None,
) -> None:
    """Run what is missing of a study under `name` in the store; `reading.read` and `storage.load` tell what it found.

    ConfigError for what cannot be searched, StoreError where the store holds another study of this name or cannot be
    written. Trials that fail are recorded and raise nothing.
    """
    from nasbench_rec.studies import optuna_engine, ray_engine

    from nasbench_rec.preparation import prepare_all

    engines = {"optuna": optuna_engine.run, "ray": ray_engine.run}
    if engine not in engines:
        raise ConfigError(unknown("engine", engine, engines))
    options, store = options or Options(), store if isinstance(store, Store) else Store(store)
    bound = study.bind(options.data_dir)
    # Here and not in the workers: data are prepared once, where their files are.
    prepare_all(bound.data, store.create().path, options.data_dir)
    engines[engine](bound, name, store, options, observer or Silent())
