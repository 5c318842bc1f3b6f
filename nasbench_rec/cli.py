"""The command line. Each verb imports what it needs, when it runs: `--help` stays fast."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import OmitSubcommandPrefixes, Positional, UseAppendAction, arg, subcommand

from nasbench_rec.errors import ConfigError, DataError, NasbenchError, StoreError, unknown

if TYPE_CHECKING:
    from nasbench_rec.unit import Unit

Set = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(
        metavar="NAME.FIELD=VALUE", help="Override a setting of a method, a data set or `protocol`: ihas.k=4."
    ),
]
StorePath = Annotated[
    Path, arg(help="Folder of records and stages; the same folder continues where it stopped.")
]
DataDir = Annotated[Path | None, arg(help="Folder of raw data, or one above it.")]
AsJson = Annotated[bool, tyro.conf.FlagCreatePairsOff, arg(name="json", help="Print JSON.")]


@dataclass(frozen=True)
class Methods:
    """List the methods, show one with its settings, or write a page for each."""

    name: Positional[str | None] = None
    """A method to show."""
    json: AsJson = False
    docs: Annotated[Path | None, arg(help="Write a Markdown page for each method into this folder.")] = None

    def run(self) -> int:
        """Print the list, or one entry."""
        from nasbench_rec import describe

        if self.docs is not None:
            return self._write(self.docs)
        if self.name is None:
            columns = ("name", "year", "level", "budget", "data", "faithfulness", "title")
            return _show_list(describe.methods(), columns, self.json)
        return _show_one(describe.method(self.name), self.json)

    def _write(self, folder: Path) -> int:
        from nasbench_rec.method_pages import write_pages

        if self.name is not None or self.json:
            raise ConfigError(
                "--docs writes the pages of all methods; give neither a method nor --json with it."
            )
        _print(f"written: {len(write_pages(folder))} pages in {folder}")
        return 0


@dataclass(frozen=True)
class Datasets:
    """List the data sets, or show one with its settings."""

    name: Positional[str | None] = None
    """A data set to show."""
    json: AsJson = False

    def run(self) -> int:
        """Print the list, or one entry."""
        from nasbench_rec import describe

        if self.name is None:
            return _show_list(describe.datasets(), ("name", "rows", "title", "licence"), self.json)
        return _show_one(describe.dataset(self.name), self.json)


@dataclass(frozen=True)
class Backbones:
    """List the backbones, or show one."""

    name: Positional[str | None] = None
    """A backbone to show."""
    json: AsJson = False

    def run(self) -> int:
        """Print the list, or one entry."""
        from nasbench_rec import describe

        if self.name is None:
            return _show_list(describe.backbones(), ("name", "title", "alignments", "paper"), self.json)
        return _show_one(describe.backbone(self.name), self.json)


Source = Annotated[
    Path | None,
    arg(help="Folder of the raw files, or the file itself; of a table by default beside its TOML."),
]


@dataclass(frozen=True)
class Prepare:
    """Read, encode and split a data set into a store.

    Files are read as their owners publish them, packed or not. A table of your own is given by its TOML file, which
    `data describe` writes.
    """

    name: Positional[str]
    """The data set, or a table's TOML file."""
    source: Source = None
    download: Annotated[
        bool,
        tyro.conf.FlagCreatePairsOff,
        arg(help="Fetch the raw files into --source first; an interrupted download continues."),
    ] = False
    replace: Annotated[
        bool, tyro.conf.FlagCreatePairsOff, arg(help="Accept source files that changed since the last time.")
    ] = False
    set: Set = ()
    store: StorePath = Path("results")

    def run(self) -> int:
        """Prepare and print what came out."""
        from nasbench_rec.registry import dataset_class

        if self.download:
            if self.source is None:
                raise ConfigError("--download needs --source FOLDER: where to put the files.")
            dataset_class(self.name).download(self.source)
        text, data = _prepared(self.name, self.source, self.set, self.store, self.replace)
        _print("\n".join([text, *(f"note: {note}" for note in data.origin.get("notes", []))]))
        return 0


@dataclass(frozen=True)
class ShowData:
    """Show a data set's rows, fields, cardinalities, positive rates, missing and unseen values.

    It is prepared where needed. Table and long-tail figure are written to --out, by default STORE/datasets/NAME.
    """

    name: Positional[str]
    """The data set, or a table's TOML file."""
    source: Source = None
    set: Set = ()
    store: StorePath = Path("results")
    out: Annotated[Path | None, arg(help="Folder of the table and the figure.")] = None

    def run(self) -> int:
        """Print the splits and the fields, and write table and figure."""
        from rich.console import Console

        from nasbench_rec.reports.dataset import print_dataset, write_dataset

        text, data = _prepared(self.name, self.source, self.set, self.store)
        _print(text)
        print_dataset(data, Console())
        folder = self.out or self.store / "datasets" / data.name
        written = write_dataset(data, folder)
        _print(f"written: {', '.join(path.name for path in written)} in {folder}")
        return 0


@dataclass(frozen=True)
class DescribeData:
    """Look at a file of your own and write a first version of the TOML that describes it.

    Read it, mend it, then give it wherever a data set is named: nasbench-rec leaderboard --datasets FILE.toml
    """

    file: Positional[Path]
    """A CSV, TSV, Parquet or libsvm file, packed or not, or a folder of Parquet files."""
    out: Annotated[Path | None, arg(help="The TOML file; by default beside the file, with its name.")] = None
    rows: int = 200_000
    """How many rows to look at."""
    force: Annotated[bool, tyro.conf.FlagCreatePairsOff, arg(help="Overwrite a TOML file that is there.")] = (
        False
    )

    def run(self) -> int:
        """Write the TOML and say what to do next."""
        from nasbench_rec.datasets.describe import write_description

        path = write_description(self.file, self.out, self.rows, self.force)
        _print(f"written: {path}\nread it, then: nasbench-rec leaderboard --datasets {path}")
        return 0


def _prepared(
    name: str, source: Path | None, sets: tuple[str, ...], folder: Path, replace: bool = False
) -> tuple[str, Any]:
    """Prepare a data set; return a line about it, and the data set."""
    from nasbench_rec import progress
    from nasbench_rec.config import parse_settings
    from nasbench_rec.preparation import prepare
    from nasbench_rec.stages import Stages
    from nasbench_rec.store import Store
    from nasbench_rec.unit import data_ref

    logging.getLogger("nasbench_rec.datasets").setLevel(
        logging.ERROR
    )  # its notes are printed with the data set
    settings = parse_settings(sets)
    _only(settings, {name})
    ref = data_ref(name, source, settings.get(name))
    with progress.steps() as watch:
        data = prepare(ref, Stages(Store(folder).create().stages), source, watch, replace)
    rows = " / ".join(f"{len(data.split(split)):,}" for split in ("train", "valid", "test"))
    values = sum(f.cardinality for f in data.fields)
    text = f"{ref.label}: {rows} rows, {len(data.fields)} fields, {values:,} ids, "
    return text + f"fingerprint {data.fingerprint[:16]}", data


@dataclass(frozen=True)
class Data:
    """Describe, prepare and show data sets."""

    verb: (
        Annotated[Prepare, subcommand("prepare")]
        | Annotated[ShowData, subcommand("show")]
        | Annotated[DescribeData, subcommand("describe")]
    )

    def run(self) -> int:
        """Run the verb."""
        return self.verb.run()


@dataclass(frozen=True)
class Run:
    """Run one unit: one method, data set, backbone and seed."""

    method: Positional[str]
    """name, name/preset, or file.py:Class."""
    dataset: str = "planted"
    """The data set."""
    backbone: str = "deepfm"
    """The model above the embeddings."""
    seed: int = 0
    """Seed of init, search and data order."""
    split_seed: int = 0
    """Seed of the search split."""
    ratio: float | None = None
    """Plan budget, as a share of the uniform model's embedding bytes."""
    trainings: float | None = None
    """Search budget, in full trainings of the uniform model."""
    set: Set = ()
    store: StorePath = Path("results")
    data_dir: DataDir = None
    threads: int = 1
    """Threads; a result is bit-identical for the same number."""

    def run(self) -> int:
        """Run the unit, or show its record if it is done."""
        from nasbench_rec import progress
        from nasbench_rec.config import parse_settings
        from nasbench_rec.preparation import prepare_all
        from nasbench_rec.registry import resolve_method
        from nasbench_rec.seeds import Seeds
        from nasbench_rec.store import Store
        from nasbench_rec.studies.execute import Workers, execute
        from nasbench_rec.studies.leaderboard import task_of
        from nasbench_rec.unit import Unit

        settings = parse_settings(self.set)
        base = resolve_method(self.method).info.name
        _only(settings, {base, self.method, self.dataset, "protocol"})
        method = resolve_method(self.method, {**settings.get(base, {}), **settings.get(self.method, {})})
        task = task_of(
            self.dataset,
            _backbone(self.backbone),
            self.data_dir,
            settings.get(self.dataset),
            settings.get("protocol"),
        )
        unit = Unit(task, method, Seeds.of(self.seed, self.split_seed), _ratio(self.ratio), self.trainings)
        store = Store(self.store).create()
        with progress.steps() as watch:
            prepare_all([task.data], store.path, self.data_dir, watch)
        with progress.watch() as observer:
            failed = execute([unit], store, Workers(1, self.threads), self.data_dir, observer)
        progress.show_record(store.get(unit.key))
        return 1 if failed else 0


@dataclass(frozen=True)
class _Study:
    """The options of verbs that run many units."""

    datasets: tuple[str, ...] = ()
    """Data sets."""
    backbones: tuple[str, ...] = ()
    """Backbones."""
    seeds: int | None = None
    """Number of seeds."""
    set: Set = ()
    store: StorePath = Path("results")
    out: Annotated[Path | None, arg(help="Folder of the tables and the page; by default below STORE.")] = None
    data_dir: DataDir = None
    workers: int = 1
    """Units or trials at a time, each in a process of its own."""
    threads: int = 1
    """Threads for each unit; a result is bit-identical for the same number."""
    address: str | None = None
    """A Ray cluster's address."""

    def _changed(self, study: Any, *options: str) -> Any:
        """Return the study with the options that were given and the settings of --set.

        Its settings of data sets that --datasets leaves out fall away.
        """
        from nasbench_rec.config import parse_settings

        given = {
            k: v for k in ("datasets", "backbones", *options) if (v := getattr(self, k)) not in ((), None)
        }
        gone = {d for d in study.datasets if d not in given.get("datasets", study.datasets)}
        settings = {k: dict(v) for k, v in study.settings.items() if k not in gone}
        for name, values in parse_settings(self.set).items():
            settings.setdefault(name, {}).update(values)
        return dataclasses.replace(study, **given, settings=settings)

    def _execute(self, units: Sequence[Unit]) -> tuple[Any, int]:
        """Run what is missing; return the store and how many units failed."""
        from nasbench_rec import progress
        from nasbench_rec.preparation import prepare_all
        from nasbench_rec.store import Store
        from nasbench_rec.studies.execute import Workers, execute

        if self.workers < 1 or self.threads < 1:
            raise ConfigError("--workers and --threads must be at least 1.")
        store = Store(self.store).create()
        with progress.steps() as watch:
            prepare_all((unit.task.data for unit in units), store.path, self.data_dir, watch)
        with progress.watch() as observer:
            workers = Workers(self.workers, self.threads, self.address)
            failed = execute(units, store, workers, self.data_dir, observer)
        return store, failed


@dataclass(frozen=True)
class LeaderboardVerb(_Study):
    """Compare methods: run what is missing, then print and write the table and the page.

    Without a file the leaderboard that comes with the package; options replace what the file says.
    Tables and page are written to --out, by default STORE/leaderboard.
    """

    file: Positional[str | None] = None
    """A leaderboard's TOML file, or the name of one that comes with the package."""
    methods: tuple[str, ...] = ()
    """Methods: name, name/preset, or file.py:Class."""
    ratios: tuple[float, ...] = ()
    """Plan budgets, as shares of the uniform model's embedding bytes."""
    trainings: float | None = None
    """Search budget, in full trainings of the uniform model."""
    tuned: str | None = None
    """Name of an equal tuning in the store: each method as it is and as tuned there, on test data, side by side."""

    def run(self) -> int:
        """Run and report."""
        from nasbench_rec.studies.leaderboard import read_leaderboard, shipped, shipped_names

        if self.tuned is not None:
            return self._run_tuned(self.tuned)

        file = self.file or "leaderboard"
        found = (
            shipped(file)
            if _is_shipped(file, shipped_names(), "leaderboard")
            else read_leaderboard(Path(file))
        )
        units = self._changed(found, "methods", "ratios", "seeds", "trainings").units(self.data_dir)
        store, failed = self._execute(units)
        _report(store, self.out or self.store / "leaderboard", units, found.notes)
        return 1 if failed else 0

    def _run_tuned(self, name: str) -> int:
        """Test the configurations of an equal tuning; its settings hold, its seeds do not."""
        from nasbench_rec.store import Store
        from nasbench_rec.studies.tuning import pairs, plan_frame, read_tuned

        given = [o for o in ("file", "ratios", "trainings", "set") if getattr(self, o) not in ((), None)]
        if given:
            raise ConfigError(f"--tuned brings its own settings and budgets: leave out {', '.join(given)}.")
        found = read_tuned(Store(self.store), name)
        chosen = {k: getattr(self, k) for k in ("methods", "datasets", "backbones")}
        planned = pairs(found, chosen, 3 if self.seeds is None else self.seeds, self.data_dir)
        units = {unit.key: unit for pair in planned for unit in (pair.default, pair.tuned)}
        store, failed = self._execute(list(units.values()))
        _report_tuning(
            store, self.out or self.store / "studies" / name / "report", found, plan_frame(planned)
        )
        return 1 if failed else 0


@dataclass(frozen=True)
class Ablate(_Study):
    """Take a method apart: run the variants of an ablation that are missing, then print and write what they show.

    Without a name the ablations that come with the package are listed; options replace what the file says.
    --seeds N takes the first N of its seeds, or more. Tables, figures and page are written to --out, by default
    STORE/ablations/NAME.
    """

    name: Positional[str | None] = None
    """The name of an ablation that comes with the package, or a TOML file."""

    def run(self) -> int:
        """List, or run and report."""
        from nasbench_rec.studies.ablation import describe_ablations, plan_frame, queue

        if self.name is None:
            return _show_list(describe_ablations(), ("name", "title", "question"), False)
        ablation = self._ablation(self.name)
        planned = ablation.units(self.data_dir)
        store, failed = self._execute(queue(planned))
        name = Path(self.name).stem
        _report_ablation(
            store, self.out or self.store / "ablations" / name, name, ablation, plan_frame(planned)
        )
        return 1 if failed else 0

    def _ablation(self, name: str) -> Any:
        from nasbench_rec.reports.ablation import FIGURES
        from nasbench_rec.studies.ablation import read_ablation, shipped_ablations, shipped_path

        path = shipped_path(name) if _is_shipped(name, shipped_ablations(), "ablation") else Path(name)
        found = read_ablation(path)
        for figure in found.figures:
            if figure not in FIGURES:
                raise ConfigError(f"{path}: figures: {unknown('figure', figure, FIGURES)}")
        found = self._changed(found)
        return found if self.seeds is None else found.with_seeds(self.seeds)


@dataclass(frozen=True)
class StudyVerb(_Study):
    """Search hyper-parameters: run the trials that are missing, then print and write what they show.

    Without a name the studies that come with the package are listed; `study show NAME` reads one that a store
    holds and runs nothing. Scores are those of validation data; `leaderboard --tuned` tests what was found. A file
    that names several methods is an equal tuning: one study for each of them, with equal trials.
    """

    words: Annotated[
        Positional[tuple[str, ...]],
        arg(
            metavar="[show] [NAME|FILE]", help="A shipped study or a TOML file; after `show` a study's name."
        ),
    ] = ()
    engine: Literal["optuna", "ray"] = "optuna"
    """optuna: ask and tell, the Optuna storage is the truth; ray: Ray Tune with Optuna's samplers."""
    trials: int | None = None
    """Number of trials."""
    seconds: float | None = None
    """Begin no trial after so many seconds of wall-clock time, over all calls."""
    sampler: Literal["tpe", "gp", "cmaes", "nsga2", "qmc", "random", "grid"] | None = None
    """Who chooses the next configuration."""
    pruner: Literal["none", "median", "asha", "hyperband", "wilcoxon"] | None = None
    """Who stops a trial early."""
    methods: tuple[str, ...] = ()
    """Of an equal tuning: its methods."""
    objectives: tuple[str, ...] = ()
    """What is wanted, on validation data: valid_auc, valid_logloss, embedding_bytes, ..."""
    trial_seconds: float | None = None
    """A trial that takes longer is ended and recorded as failed."""
    trial_gib: float | None = None
    """A trial that uses more memory than so many GiB is ended and recorded as failed."""
    storage: str | None = None
    """URL of an Optuna storage (a database); by default a journal file in the store."""
    name: str | None = None
    """The study's name in the store; by default the file's, with what is not as there."""

    def run(self) -> int:
        """List, show, or run and report."""
        from nasbench_rec.studies.study import describe_studies, shipped_studies, shipped_study
        from nasbench_rec.studies.tuning import is_tuning

        if not self.words:
            return _show_list(describe_studies(), ("name", "title", "question"), False)
        if self.words[0] == "show":
            return self._show(self.words[1:])
        if len(self.words) > 1:
            raise ConfigError(f"study {' '.join(self.words)}: give one study, or `study show NAME`.")
        text = self.words[0]
        path = shipped_study(text) if _is_shipped(text, shipped_studies(), "study") else Path(text)
        return self._tune(path) if is_tuning(path) else self._search(path)

    def _show(self, names: tuple[str, ...]) -> int:
        from nasbench_rec.store import Store
        from nasbench_rec.studies.running import studies_of
        from nasbench_rec.studies.tuning import tunings_of

        store = Store(self.store)
        if not names:
            known = [*tunings_of(store), *studies_of(store)]
            _print("\n".join(known) if known else f"{store.path} holds no study; run one: nasbench-rec study")
        for name in names:
            _report_study(store, name, self.out) if name not in tunings_of(store) else self._list(store, name)
        return 0

    def _list(self, store: Any, name: str) -> None:
        from nasbench_rec.studies.tuning import read_tuned

        for entry in read_tuned(store, name).entries:
            _print(entry.line)

    def _search(self, path: Path) -> int:
        from nasbench_rec.store import Store
        from nasbench_rec.studies.study import read_study

        if self.methods:
            raise ConfigError(f"{path}: is a study of one method; --methods is for equal tunings.")
        read = read_study(path)
        study = self._with_options(read)
        name = self.name or self._name(path.stem, read, study)
        store = Store(self.store)
        self._run(name, study, store)
        return _report_study(store, name, self.out)

    def _with_options(self, study: Any) -> Any:
        options = (
            ("trials", "seconds", "objectives") if hasattr(study, "objectives") else ("trials", "seconds")
        )
        changed = self._changed(study, *options)
        if self.seeds is not None:
            first = study.seeds[0]
            changed = dataclasses.replace(changed, seeds=tuple(range(first, first + self.seeds)))
        for part in ("sampler", "pruner"):
            if (kind := getattr(self, part)) is not None:
                named = dataclasses.replace(getattr(study, part), name=kind)
                changed = dataclasses.replace(changed, **{part: named})
        return changed

    def _name(self, stem: str, read: Any, study: Any) -> str:
        """Return the file's name, and the data sets, backbones, sampler and engine that are not as there."""
        parts = [stem]
        for option in ("datasets", "backbones"):
            if getattr(study, option) != getattr(read, option):
                parts += [Path(name).stem for name in getattr(study, option)]
        parts += [study.sampler.name] if study.sampler != read.sampler else []
        return "-".join([*parts, *(["ray"] if self.engine == "ray" else [])])

    def _run(self, name: str, study: Any, store: Any) -> None:
        from nasbench_rec import progress
        from nasbench_rec.preparation import prepare_all
        from nasbench_rec.studies.run import run
        from nasbench_rec.studies.running import Options
        from nasbench_rec.studies.sandbox import Limits

        if self.workers < 1 or self.threads < 1:
            raise ConfigError("--workers and --threads must be at least 1.")
        limit = None if self.trial_gib is None else int(self.trial_gib * 2**30)
        limits = Limits(self.trial_seconds, limit)
        options = Options(self.workers, self.threads, self.address, self.data_dir, limits, self.storage)
        with progress.steps() as watch:  # one display at a time
            prepare_all(study.bind(self.data_dir).data, store.create().path, self.data_dir, watch)
        with progress.watch(progress.TrialWatcher) as observer:
            run(study, name, store, self.engine, options, observer)

    def _tune(self, path: Path) -> int:
        from nasbench_rec.store import Store
        from nasbench_rec.studies.tuning import collect, read_tuning

        read = read_tuning(path)
        tuning, store = self._with_options(read), Store(self.store)
        if self.methods:
            tuning = tuning.only(self.methods)
        name = self.name or self._name(path.stem, read, tuning)
        studies = tuning.studies(name)
        for study in studies.values():
            study.bind(self.data_dir)
        for title, study in studies.items():
            sys.stderr.write(f"{title}\n")
            self._run(title, study, store)
        found = collect(tuning, name, store)
        self._list(store, name)
        _print(f"test them: nasbench-rec leaderboard --tuned {name} --store {self.store}")
        return 1 if any(entry.number is None for entry in found.entries) else 0


@dataclass(frozen=True)
class ListClaims:
    """List the claim sets that come with the package."""

    json: AsJson = False

    def run(self) -> int:
        """Print the list."""
        from nasbench_rec.studies.claims import describe_claims

        return _show_list(describe_claims(), ("name", "claims", "title", "paper"), self.json)


@dataclass(frozen=True)
class ShowClaims:
    """Show what each claim of a set says and what it is measured by."""

    name: Positional[str]
    """The name of a claim set that comes with the package, or a TOML file."""
    json: AsJson = False

    def run(self) -> int:
        """Print the claims."""
        from nasbench_rec.studies.claims import content_of, describe, digest

        claims = _claims(self.name)
        content = content_of(claims)
        if self.json:
            _print(json.dumps({"sha256": digest(content), **content}, indent=1))
            return 0
        _print(f"{claims.title}\n{claims.paper}\n{claims.source}\nSHA-256 {digest(content)}")
        for claim in claims.claims:
            _print(f"\n{claim.id} ({claim.part}, {claim.kind}; {claim.source})\n  {claim.sentence}")
            _print(f"  measured: {describe(claim)}")
            for name in ("datasets", "controls", "seeds"):
                if claim.method and (values := getattr(claim, name)):
                    _print(f"  {name}: {', '.join(map(str, values))}")
            if claim.reading:
                _print(f"  {claim.reading}")
        return 0


@dataclass(frozen=True)
class CheckClaims:
    """Derive the verdict on each claim of a set from the records of a store; with --run, run what is missing first.

    The first check freezes the set: its content and SHA-256 are written to STORE/claims/NAME before any unit runs, and
    a set that says something else is refused from then on. Page, CSV and JSON are written to STORE/claims/NAME.
    """

    name: Positional[str]
    """The name of a claim set that comes with the package, or a TOML file."""
    run_missing: Annotated[
        bool, tyro.conf.FlagCreatePairsOff, arg(name="run", help="Run the units that have no record yet.")
    ] = False
    seeds: int | None = None
    """Look at so many seeds of each claim; the page says so."""
    datasets: tuple[str, ...] = ()
    """Look at these data sets only; claims on others count as not testable here."""
    store: StorePath = Path("results")
    out: Annotated[Path | None, arg(help="Folder of page and tables; by default STORE/claims/NAME.")] = None
    data_dir: DataDir = None
    workers: int = 1
    """Units at a time, each in a process of its own."""
    threads: int = 1
    """Threads for each unit; a result is bit-identical for the same number."""
    address: str | None = None
    """A Ray cluster's address."""

    def run(self) -> int:
        """Freeze, run what is missing where asked to, judge and report."""
        from nasbench_rec.reports.claims import print_claims, write_claims
        from nasbench_rec.store import Store
        from nasbench_rec.studies import claims

        if self.seeds is not None and self.seeds < 1:
            raise ConfigError(f"--seeds {self.seeds}: at least 1.")
        found, store = _claims(self.name), Store(self.store)
        opened = claims.open_claims(found, store, self.data_dir, self.seeds, self.datasets)
        failed = 0
        if self.run_missing:
            opened = claims.prepare_limited(opened, store, self.data_dir)
            names = ("store", "data_dir", "workers", "threads", "address")
            store, failed = _Study(**{n: getattr(self, n) for n in names})._execute(opened.units)
        verdicts = claims.write_verdicts(opened, store)
        paths = write_claims(verdicts, self.out or claims.folder_of(store, found.name))
        print_claims(verdicts, _console())
        _written(paths)
        return 1 if failed else 0


@dataclass(frozen=True)
class ClaimsVerb:
    """Test what papers claim: claims are frozen before they are run, verdicts are derived from records."""

    verb: (
        Annotated[ListClaims, subcommand("list")]
        | Annotated[ShowClaims, subcommand("show")]
        | Annotated[CheckClaims, subcommand("check")]
    )

    def run(self) -> int:
        """Run the verb."""
        return self.verb.run()


def _claims(name: str) -> Any:
    from nasbench_rec.studies.claims import read_claims, shipped_claims, shipped_path

    return read_claims(shipped_path(name) if _is_shipped(name, shipped_claims(), "claim set") else Path(name))


@dataclass(frozen=True)
class Report:
    """Write the site of a store: leaderboard, data sets, methods, studies, ablations, claims, with all records behind.

    It is a folder of pages that opens from the file system and loads nothing from elsewhere. The tables as CSV,
    Markdown and LaTeX stand in its folder `downloads`.
    """

    store: StorePath = Path("results")
    out: Annotated[Path | None, arg(help="Folder of the site; by default STORE/site.")] = None
    title: str = "Embedding-dimension search, compared"
    """What its first page is called."""
    figures: tuple[str, ...] = ("pareto", "search-cost", "anytime")
    """Figures below AUC over bytes for each data set and backbone: names of reports.comparison, such as widths."""

    def run(self) -> int:
        """Write the site."""
        from nasbench_rec.reports.comparison import planted_widths
        from nasbench_rec.reports.site import SiteContent, write_site
        from nasbench_rec.store import Store

        store = Store(self.store)
        content = SiteContent(
            store,
            str(self.store),
            self.title,
            studies=_site_studies(store),
            ablations=store.path / "ablations",
            claims=store.path / "claims",
            truth=planted_widths(store.path),
            figures=self.figures,
            **_known(),
        )
        _print(f"written: {write_site(content, self.out or self.store / 'site')}")
        return 0


@dataclass(frozen=True)
class FiguresVerb:
    """Draw the figures that compare the methods of a store, and write the compact table of a paper.

    Without names all that have anything to show. Each is written as SVG, PDF and CSV (its numbers), the table `paper`
    as CSV, Markdown and LaTeX, to --out, by default STORE/figures; what is too large for a page is a file per data set
    and backbone. Data sets that differ in their seed alone, each run with one seed of its own, count as one:
    `planted (seed=*)`. `figures --list` says what each shows, with names also how it is read.
    """

    names: Annotated[
        Positional[tuple[str, ...]],
        arg(metavar="[NAME ...]", help="Figures, such as pareto or widths, or paper for the table."),
    ] = ()
    list: Annotated[
        bool, tyro.conf.FlagCreatePairsOff, arg(help="Say what each shows, and draw nothing.")
    ] = False
    store: StorePath = Path("results")
    out: Annotated[Path | None, arg(help="Folder of the figures; by default STORE/figures.")] = None
    datasets: tuple[str, ...] = ()
    """Show these data sets only, as tables call them, with or without their settings."""
    backbones: tuple[str, ...] = ()
    """Show these backbones only, named alike."""
    reference: str = "uniform"
    """What `paired` compares with: uniform, random or a method's name (both of the same size), or a label."""
    tuned: str | None = None
    """Name of the equal tuning in the store that tuning-gains shows, once `leaderboard --tuned` has tested it."""
    data_dir: DataDir = None

    def run(self) -> int:
        """List, or draw and say what was written; 1 where something that was named has nothing to show."""
        from nasbench_rec import progress
        from nasbench_rec.reports.comparison import describe_figures, write_comparison

        entries = describe_figures(self.names)  # which refuses an unknown name
        if self.list:
            return self._list(entries)
        evidence = self._evidence()
        with progress.steps() as watch:
            done = write_comparison(evidence, self.out or self.store / "figures", self.names, watch)
        for name, paths in done.files.items():
            _print(f"{name}: {', '.join(path.name for path in paths)}")
        for name, reason in done.reasons.items():
            _print(f"nothing to show: {name}: {reason}")
        _print(f"written: {len(done.paths)} files in {self.out or self.store / 'figures'}")
        return 1 if self.names and done.reasons else 0

    def _list(self, entries: Sequence[Mapping[str, str]]) -> int:
        if not self.names:
            return _show_list([*map(dict, entries)], ("name", "shows"), False)
        for entry in entries:
            _print(f"{entry['name']}: {entry['title']}\n{entry['shows']}\n{entry['reading']}\n")
        return 0

    def _evidence(self) -> Any:
        """Return what the store holds, as far as the options let it be shown."""
        from nasbench_rec.describe import methods
        from nasbench_rec.reports.comparison import Evidence
        from nasbench_rec.store import Store

        store = Store(self.store)
        levels = {entry["name"]: entry.get("level", "") for entry in methods()}
        found = Evidence.of(store, levels=levels, reference=self.reference)
        if found.frame.empty:
            raise DataError(
                f"{store.path} has no records to draw; run `nasbench-rec leaderboard --store {store.path}`."
            )
        if found.replaced:
            _print(f"left out, as a later one takes its place: {found.replaced} of the records")
        if self.tuned is not None:
            rows = _tuning_rows(store, self.tuned, self.data_dir)
            found = dataclasses.replace(found, tuning=rows)
        found = found.pooled()
        for option, column in (("datasets", "dataset"), ("backbones", "backbone")):
            if chosen := getattr(self, option):
                known = sorted(set(found.frame[column]))
                found = found.where(**{column: [x for name in chosen for x in _called(name, known, option)]})
        return found


def _called(name: str, known: Sequence[str], option: str) -> list[str]:
    """Return what is called so in tables, or where nothing is, what is with settings behind: `deepfm (epochs=8)`."""
    found = [x for x in known if x == name] or [x for x in known if x.partition(" (")[0] == name]
    if not found:
        raise ConfigError(f"--{option}: {unknown('name', name, known)}")
    return found


def _tuning_rows(store: Any, name: str, data_dir: Path | None) -> Any:
    """Return the rows of an equal tuning, of those seeds whose units have records."""
    from nasbench_rec.reports.tuning import tuning_frame
    from nasbench_rec.studies.tuning import pairs, plan_frame, read_tuned

    frame = store.frame()
    seeds = frame["seed"].nunique()  # those of a tested tuning count from 0, so there are no more
    plan = plan_frame(pairs(read_tuned(store, name), {}, seeds, data_dir))
    tested = plan[["default_key", "tuned_key"]].isin(set(frame["key"])).any(axis=1)
    if not tested.any():
        remedy = f"run `nasbench-rec leaderboard --tuned {name} --store {store.path}`"
        raise DataError(f"{name}: no unit of this tuning has a record; {remedy} first.")
    return tuning_frame(plan[tested], frame)


@dataclass(frozen=True)
class Verify:
    """Re-run a record from itself, without its stages, and compare; or a random sample of a store's records."""

    key: Positional[str | None] = None
    """The record's key, or its first characters."""
    sample: int | None = None
    """Instead of a key: re-run so many random records, and say which share is reproduced."""
    seed: int = 0
    """Which random records."""
    store: StorePath = Path("results")
    data_dir: DataDir = None

    def run(self) -> int:
        """Compare and say what differs."""
        if (self.key is None) == (self.sample is None):
            raise ConfigError("give the key of a record, or --sample N for N random records of the store.")
        if self.sample is not None and self.sample < 1:
            raise ConfigError(f"--sample {self.sample}: at least 1.")
        return self._one(self.key) if self.key is not None else self._sample(self.sample or 0)

    def _one(self, key: str) -> int:
        from nasbench_rec.store import Store
        from nasbench_rec.verify import verify

        record = Store(self.store).get(key)
        if record is None:
            raise StoreError(f"{self.store} has no record {key!r}; `report` lists the records of a store.")
        differences = verify(record, self.data_dir)
        for line in differences:
            _print(f"differs: {line}")
        _print(
            f"{record['key']} {record['label']}: "
            + ("NOT reproduced" if differences else "reproduced bit for bit")
        )
        return 1 if differences else 0

    def _sample(self, count: int) -> int:
        from nasbench_rec.store import Store
        from nasbench_rec.verify import check, sample, share_of

        records = sample(Store(self.store), count, self.seed)
        checked = []
        for i, record in enumerate(records, 1):
            checked.append(found := check(record, self.data_dir))
            said = "reproduced" if found.reproduced else "NOT reproduced"
            _print(f"[{i}/{len(records)}] {found.key} {found.label}: {found.trouble or said}")
            for line in found.differences:
                _print(f"  differs: {line}")
        share = share_of(checked)
        left = f"; {len(checked) - share.run} cannot be run again here" if share.run < len(checked) else ""
        least = f"at least {share.least:.0%} of all are reproducible (confidence 95 %)"
        _print(f"reproduced bit for bit: {share.reproduced} of {share.run}{left}; {least}")
        return 0 if share.reproduced == len(checked) else 1


@dataclass(frozen=True)
class MergeStores:
    """Put the records of two stores together, with the plans and predictions that they name.

    Records are verified by their hashes. Without --into those of the second go into the first. A unit that both
    finished with other results is a conflict: it is reported, and nothing of it is written unless --keep decides.
    """

    first: Positional[Path]
    """A store's folder."""
    second: Positional[Path]
    """Another one's."""
    into: Annotated[Path | None, arg(help="A third store that gets the records of both.")] = None
    keep: Literal["first", "second"] | None = None
    """Whose record counts where two differ; the other one stays as an earlier attempt."""

    def run(self) -> int:
        """Merge and say what was done."""
        from nasbench_rec.merging import merge
        from nasbench_rec.store import Store

        done = merge(
            Store(self.first), Store(self.second), Store(self.into) if self.into else None, self.keep
        )
        for line in done.broken:
            _print(f"not taken: {line}")
        for c in done.conflicts:
            _print(f"conflict: {c.key} {c.label}: {f'{c.kept} counts' if c.kept else 'undecided'}")
            for line in [*map(str, c.places), *c.differences]:
                _print(f"  {line}")
        what = f"{done.written} records written, {done.known} known, {done.stages} stages copied"
        _print(f"{done.target}: {what}")
        if any(not c.kept for c in done.conflicts):
            _print("decide with --keep first or --keep second, or run the units again.")
        return 0 if done.clean else 1


@dataclass(frozen=True)
class CheckStore:
    """Check every record of a store by its hashes: that of its unit, and that of its predictions where they are."""

    folder: Positional[Path]
    """The store's folder."""

    def run(self) -> int:
        """Check and say what is wrong."""
        from nasbench_rec.merging import checked
        from nasbench_rec.store import Store

        store, wrong = Store(self.folder), 0
        paths = [path for key in store.keys() for path in store.attempts(key)]
        for path in paths:
            try:
                checked(store, path)
            except StoreError as error:
                wrong += 1
                _print(f"wrong: {error}")
        _print(f"{store.path}: {len(paths)} records, {wrong} with wrong hashes")
        return 1 if wrong else 0


@dataclass(frozen=True)
class StoreVerb:
    """Merge stores, or check all records of one by their hashes."""

    verb: Annotated[MergeStores, subcommand("merge")] | Annotated[CheckStore, subcommand("check")]

    def run(self) -> int:
        """Run the verb."""
        return self.verb.run()


Verb = (
    Annotated[Methods, subcommand("methods")]
    | Annotated[Datasets, subcommand("datasets")]
    | Annotated[Backbones, subcommand("backbones")]
    | Annotated[Data, subcommand("data")]
    | Annotated[Run, subcommand("run")]
    | Annotated[LeaderboardVerb, subcommand("leaderboard")]
    | Annotated[Ablate, subcommand("ablate")]
    | Annotated[StudyVerb, subcommand("study")]
    | Annotated[ClaimsVerb, subcommand("claims")]
    | Annotated[Report, subcommand("report")]
    | Annotated[FiguresVerb, subcommand("figures")]
    | Annotated[StoreVerb, subcommand("store")]
    | Annotated[Verify, subcommand("verify")]
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; user errors are one message and exit code 2, failed units exit code 1."""
    args = _split_sets(list(sys.argv[1:] if argv is None else argv))
    verb: Any = tyro.cli(
        Verb,
        args=args,
        prog="nasbench-rec",
        description=ABOUT,
        config=(OmitSubcommandPrefixes,),
    )
    try:
        sys.exit(verb.run())
    except NasbenchError as error:
        _fail(str(error))
    except BrokenPipeError:  # whoever reads the output has enough, as `| head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        _fail("stopped; the same command continues where it was.", 130)


LOG_WIDTH = 170
ABOUT = "Compare embedding-dimension search methods for click-through-rate models, honestly."


def _fail(message: str, code: int = 2) -> None:
    sys.stderr.write(f"nasbench-rec: {message}\n")
    sys.exit(code)


def _split_sets(args: list[str]) -> list[str]:
    """Let `--set a.b=1 c.d=2` mean `--set a.b=1 --set c.d=2`."""
    found: list[str] = []
    after = False
    for text in args:
        if after and "=" in text and not text.startswith("-") and found[-1] != "--set":
            found.append("--set")
        after = text == "--set" or (after and "=" in text and not text.startswith("-"))
        found.append(text)
    return found


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _only(settings: dict[str, Any], names: set[str]) -> None:
    for name in settings:
        if name not in names:
            raise ConfigError("--set: " + unknown("target", name, names))


def _backbone(name: str) -> str:
    from nasbench_rec.pipeline import check_backbone

    return check_backbone(name)


def _ratio(ratio: float | None) -> float | None:
    if ratio is not None and not 0 < ratio <= 1:
        raise ConfigError(f"--ratio {ratio}: must lie in (0, 1], a share of the uniform model's bytes.")
    return ratio


def _is_shipped(text: str, names: Sequence[str], kind: str) -> bool:
    """Return whether `text` is the name of a shipped file; one that is no file either is refused."""
    if text not in names and not Path(text).exists():
        raise ConfigError(f"{text}: no such file, and {unknown(f'shipped {kind}', text, names)}")
    return text in names


def _console() -> Any:
    """Return a console on standard output. A file or a pipe has no width of its own: every column has room there."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=LOG_WIDTH)


def _written(paths: Sequence[Path]) -> None:
    _print("written: " + ", ".join(str(p) for p in paths))


def _report(
    store: Any, out: Path, units: Sequence[Unit] | None, explanations: Mapping[str, str] | None = None
) -> None:
    from nasbench_rec.describe import methods
    from nasbench_rec.reports.leaderboard import leaderboard_frame, write_leaderboard
    from nasbench_rec.reports.terminal import print_leaderboard

    frame = store.frame()
    if units is not None:
        frame = frame[frame["key"].isin([u.key for u in units])]
    if frame.empty:
        raise DataError(
            f"{store.path} has no records to report; run `nasbench-rec leaderboard --store {store.path}`."
        )
    levels = {entry["name"]: entry.get("level", "") for entry in methods()}
    paths = write_leaderboard(frame, out, "Leaderboard", explanations, levels)
    print_leaderboard(leaderboard_frame(frame), _console())
    _written(paths)


def _known() -> dict[str, Any]:
    """Return what is known of methods and data sets beside their records, as the site shows it."""
    from nasbench_rec import describe
    from nasbench_rec.method_pages import facts
    from nasbench_rec.reports.site import About

    methods, datasets = describe.methods(), describe.datasets()
    about = {
        e["name"]: About(
            e["title"], e.get("paper") or "", facts(e) if "level" in e else (), e.get("deviations", ())
        )
        for e in methods
    }
    return {
        "methods": about,
        "levels": {e["name"]: e.get("level", "") for e in methods},
        "datasets": {
            e["name"]: About(e["title"], facts=[(k, str(e[k])) for k in ("rows", "licence") if e.get(k)])
            for e in datasets
        },
    }


def _site_studies(store: Any) -> list[Any]:
    """Return the studies of a store for its site."""
    from functools import partial

    from nasbench_rec.reports.site import SiteStudy
    from nasbench_rec.studies.running import studies_of

    return [SiteStudy(name, partial(_study_content, name, store)) for name in studies_of(store)]


def _study_content(name: str, store: Any) -> Any:
    from nasbench_rec.reports.study import StudyFrames
    from nasbench_rec.studies.reading import read
    from nasbench_rec.studies.running import read_head

    pairs = read_head(store, name)["words"]["contour"]
    return StudyFrames(**read(name, store)), tuple(tuple(pair) for pair in pairs)


def _report_ablation(store: Any, out: Path, name: str, ablation: Any, plan: Any) -> None:
    from nasbench_rec.progress import stages_line
    from nasbench_rec.reports.ablation import print_ablation, write_ablation

    records = {key: record for key in plan["key"].unique() if (record := store.get(key)) is not None}
    known = {k: getattr(ablation, k) for k in ("title", "question", "reference", "bars")}
    paths = write_ablation(plan, records, name=name, figures=ablation.figures, out=out, **known)
    print_ablation(plan, records, console=_console(), **known)
    _print(stages_line(use for record in records.values() for use in record["stages"]))
    _written(paths)


def _report_study(store: Any, name: str, out: Path | None) -> int:
    from nasbench_rec.reports.study import StudyFrames, print_study, write_study
    from nasbench_rec.studies.reading import read
    from nasbench_rec.studies.running import folder_of, read_head

    frames = StudyFrames(**read(name, store))
    contour = tuple(tuple(pair) for pair in read_head(store, name)["words"]["contour"])
    paths = write_study(frames, out or folder_of(store, name) / "report", contour)
    print_study(frames, _console())
    _written(paths)
    return 0 if (frames.trials["state"] == "complete").any() else 1


def _report_tuning(store: Any, out: Path, found: Any, plan: Any) -> None:
    from nasbench_rec.reports.tuning import print_tuning, write_tuning

    frame = store.frame()
    records = frame[frame["key"].isin([*plan["default_key"], *plan["tuned_key"]])]
    paths = write_tuning(plan, records, name=Path(found.name).name, title=found.title, out=out)
    print_tuning(plan, records, title=found.title, console=_console())
    _written(paths)


def _show_list(entries: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool) -> int:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if as_json:
        _print(json.dumps(entries, indent=1))
        return 0
    table = Table(*columns, box=None, pad_edge=False)
    for entry in entries:
        table.add_row(*(Text(_cell(entry.get(c))) for c in columns))
    Console().print(table)
    return 0


def _cell(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def _show_one(entry: dict[str, Any], as_json: bool) -> int:
    from rich.console import Console
    from rich.text import Text

    from nasbench_rec.describe import space_text

    if as_json:
        _print(json.dumps(entry, indent=1))
        return 0
    console = Console()
    settings = entry.pop("settings", [])
    for name, value in entry.items():
        if value not in (None, "", [], {}):
            text = (
                "; ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else _cell(value)
            )
            console.print(Text(f"{name}: ", style="bold") + Text(text))
    for s in settings:
        line = Text(f"  {s['name']} = {s['default']!r}", style="cyan") + Text(
            f"  {s['help']}", style="default"
        )
        line += Text(f"  [{s['source']}]" if s.get("source") else "")
        console.print(
            line + Text(f"  {{{space_text(s['space'])}}}" if s.get("space") else ""), soft_wrap=True
        )
    return 0


if __name__ == "__main__":
    main()
