"""A claim set as data: what a paper says, turned into comparisons that can fail, before anything runs.

A claim's arms are written once, under `[arms.NAME]`, and named by claims; a method's name is an arm, too. What sets
an arm's values, later ones win:

    the set's [settings] and [protocols.DATASET] < the claim's settings < the arm's settings, protocol and data
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from nasbench_rec.studies._claims_values import METRICS, is_metric
from nasbench_rec.studies.leaderboard import check_settings, overrides

from nasbench_rec.config import build, plain, read_toml
from nasbench_rec.errors import ConfigError, unknown
from nasbench_rec.pipeline import check_backbone
from nasbench_rec.registry import Method, code_of, dataset_class, is_table, resolve_dataset, resolve_method

Values = Mapping[str, Any]
Kind = Literal["difference", "equivalence", "value", "untestable"]
Part = Literal["claim", "mechanism", "first experiment", "next check", "trade-off", "control"]


@dataclass(frozen=True)
class Choice:
    """One configuration of an arm that is tuned."""

    settings: Values = field(default_factory=dict)
    protocol: Values = field(default_factory=dict)
    ratio: float | None = None


@dataclass(frozen=True)
class Arm:
    """A method as it takes part. With `choices` it is tuned: in each seed the best one by validation AUC counts."""

    name: str
    method: str
    """name or name/preset."""
    settings: Values = field(default_factory=dict)
    protocol: Values = field(default_factory=dict)
    data: Values = field(default_factory=dict)
    ratio: float | None = None
    """Plan budget of its own, instead of the claim's; 1: none, the full size."""
    choices: tuple[Choice, ...] = ()

    def options(self) -> list[Choice]:
        """Return what it is tuned over: at least one configuration, the arm's own values in each."""
        return [
            Choice({**self.settings, **c.settings}, {**self.protocol, **c.protocol}, c.ratio or self.ratio)
            for c in self.choices or (Choice(),)
        ]


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper and the comparison that it stands or falls with.

    "difference": `method` is better than every comparator. "equivalence": as good as each, within `interest`; with a
    direction, being better is as good, too. "value": the metric of `method` reaches `bound`. "untestable": says what
    it `needs`. What is empty is the set's.
    """

    id: str
    sentence: str
    source: str
    kind: Kind = "difference"
    part: Part = "claim"
    reading: str = ""
    """How the sentence was turned into this comparison, and what it leaves out."""
    method: str = ""
    comparators: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    """Arms without what the claim credits; one that does as well explains the effect away."""
    datasets: tuple[str, ...] = ()
    paper_datasets: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ()
    ratios: tuple[float, ...] = ()
    metric: str = ""
    """A name of `METRICS`, or a dotted path into the record."""
    direction: Literal["", "higher", "lower"] = ""
    """Which values are better; empty: as usual for the metric."""
    relative: bool = False
    """Compare (method - comparator) / comparator."""
    claimed: float | None = None
    """The size in the paper, signed as the metric is."""
    interest: float | None = None
    """The smallest effect of interest, above 0; of an equivalence its margin."""
    bound: float | None = None
    seeds: tuple[int, ...] = ()
    split_seeds: tuple[int, ...] = ()
    test: Literal["sign-flip", "wilcoxon"] = "sign-flip"
    family: str = ""
    """Claims of one family share a Holm correction; empty: the claim's own comparisons."""
    settings: Mapping[str, Values] = field(default_factory=dict)
    needs: str = ""

    def __post_init__(self) -> None:
        """Refuse a claim that cannot be judged."""
        where = f"claim {self.id!r}"
        for name in ("id", "sentence", "source"):
            if not getattr(self, name):
                raise ConfigError(f"{where}: {name} is empty; every claim says it.")
        self._check_kind(where)
        self._check_sizes(where)
        if self.metric and not is_metric(self.metric):
            raise ConfigError(
                f"{where}: {unknown('metric', self.metric, METRICS)} Or a dotted path into the record."
            )
        if self.metric not in ("", *METRICS) and not self.direction and self.kind != "equivalence":
            raise ConfigError(
                f"{where}: direction is empty; say whether higher or lower {self.metric} is better."
            )

    def _check_kind(self, where: str) -> None:
        if (self.kind == "untestable") != bool(self.needs):
            raise ConfigError(
                f"{where}: `needs` says what an untestable claim needs, and belongs to no other."
            )
        if self.kind != "untestable" and not self.method:
            raise ConfigError(f"{where}: method is empty; name an arm or a method.")
        if (self.kind == "value") != (self.bound is not None):
            raise ConfigError(f"{where}: `bound` is what a value must reach, and belongs to no other kind.")
        if (self.kind in ("difference", "equivalence")) != bool(self.comparators):
            raise ConfigError(f"{where}: comparators belong to differences and equivalences, at least one.")

    def _check_sizes(self, where: str) -> None:
        if self.interest is not None and self.interest <= 0:
            raise ConfigError(
                f"{where}: interest = {self.interest}; the smallest effect of interest is above 0."
            )
        if self.claimed is not None and self.kind != "difference":
            raise ConfigError(f"{where}: `claimed` is the size of a difference; this is of kind {self.kind}.")
        for ratio in self.ratios:
            if not 0 < ratio <= 1:
                raise ConfigError(
                    f"{where}: ratio {ratio} is not in (0, 1], a share of the uniform model's bytes."
                )


@dataclass(frozen=True)
class ClaimSet:
    """The claims of one paper, with what they share. Reading fills in what a claim leaves to the set."""

    name: str
    title: str
    paper: str
    source: str
    claims: tuple[Claim, ...]
    arms: Mapping[str, Arm] = field(default_factory=dict)
    seeds: tuple[int, ...] = tuple(range(10))
    split_seeds: tuple[int, ...] = (0,)
    data_seed: bool = False
    """The setting `seed` of each data set that has one equals the unit's seed."""
    datasets: tuple[str, ...] = ("planted",)
    paper_datasets: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ("deepfm",)
    metric: str = "auc"
    alpha: float = 0.05
    margins: Mapping[str, float] = field(default_factory=lambda: {"auc": 0.0005, "test_auc": 0.0005})
    """The smallest effect of interest, by metric."""
    least_rows: Mapping[str, int] = field(default_factory=dict)
    """Rows that a data set must have for a claim to be tested on it: a head of a file is not the paper's data."""
    settings: Mapping[str, Values] = field(default_factory=dict)
    protocols: Mapping[str, Values] = field(default_factory=dict)
    """Settings of the protocol, by data set."""

    def __post_init__(self) -> None:
        """Refuse empty lists, and names that nothing has."""
        for name in ("title", "paper", "claims", "seeds", "split_seeds", "datasets", "backbones"):
            if not getattr(self, name):
                raise ConfigError(f"{name} is empty; a claim set needs it.")
        if not 0 < self.alpha < 0.5:
            raise ConfigError(f"alpha = {self.alpha}: a level between 0 and 0.5, such as 0.05.")
        ids = [claim.id for claim in self.claims]
        if twice := sorted({i for i in ids if ids.count(i) > 1}):
            raise ConfigError(f"claim {twice[0]!r} is there twice; every claim has an id of its own.")

    def filled(self, claim: Claim) -> Claim:
        """Return a claim with what it leaves to the set."""
        names = ("datasets", "paper_datasets", "backbones", "metric", "seeds", "split_seeds")
        own = {n: getattr(claim, n) or getattr(self, n) for n in names}
        usual = METRICS[own["metric"]].direction if own["metric"] in METRICS else ""
        own["direction"] = claim.direction or ("" if claim.kind == "equivalence" else usual)
        own["family"] = claim.family or claim.id
        if claim.claimed is not None and (claim.claimed > 0) != (own["direction"] == "higher"):
            raise ConfigError(
                f"claim {claim.id!r}: claimed = {claim.claimed} is a difference to the worse side: {own['direction']} "
                f"{own['metric']} is better."
            )
        if claim.interest is None and claim.kind in ("difference", "equivalence"):
            own["interest"] = self._margin(claim.id, own["metric"])
        return replace(claim, **own)

    def _margin(self, claim: str, metric: str) -> float:
        if metric not in self.margins:
            raise ConfigError(
                f"claim {claim!r}: interest is missing; give the smallest effect of interest in {metric}, or one for "
                "all claims under [margins]."
            )
        return self.margins[metric]

    def arm(self, name: str) -> Arm:
        """Return an arm by its name, or a method's."""
        if name in self.arms:
            return self.arms[name]
        try:
            resolve_method(name)
        except ConfigError as error:
            if "/" in name:
                raise
            raise ConfigError(f"{unknown('arm', name, self.arms)} Nor is it a method: {error}") from None
        return Arm(name, name)

    def check(self) -> None:
        """Resolve every name and setting; no source file is looked at."""
        for claim in self.claims:
            if claim.kind == "untestable":
                continue
            with named(f"claim {claim.id!r}"):
                self._check_claim(claim)

    def _check_claim(self, claim: Claim) -> None:
        from nasbench_rec.studies.leaderboard import protocol_of

        arms = [self.arm(name) for name in (claim.method, *claim.comparators, *claim.controls)]
        methods = [self.method(claim, arm, option) for arm in arms for option in arm.options()]
        datasets = [d for c in self.claims for d in c.datasets]
        check_settings(claim.settings, methods, (a.method for a in arms), datasets)
        for backbone in claim.backbones:
            check_backbone(backbone)
        for dataset in claim.datasets:
            for arm in arms:
                for option in arm.options():
                    data, protocol = self.task_settings(claim, arm, option, dataset, claim.seeds[0])
                    protocol_of(resolve_dataset(dataset, data), protocol)

    def method(self, claim: Claim, arm: Arm, option: Choice) -> Method:
        """Return the method of an arm in a claim."""
        with named(f"arm {arm.name!r}"):
            shared = overrides(self.settings, arm.method)
            own = overrides(claim.settings, arm.method)
            return resolve_method(arm.method, {**shared, **own, **option.settings})

    def task_settings(
        self, claim: Claim, arm: Arm, option: Choice, dataset: str, seed: int
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the settings of the data and of the protocol of a unit with this seed."""
        data = {**self.settings.get(dataset, {}), **claim.settings.get(dataset, {})}
        data |= {k: v for k, v in arm.data.items() if k in _settings_of(dataset)}
        if self.data_seed and "seed" in _settings_of(dataset):
            data["seed"] = seed
        return data, {
            **self.settings.get("protocol", {}),
            **self.protocols.get(dataset, {}),
            **claim.settings.get("protocol", {}),
            **option.protocol,
        }

    def content(self, claim: Claim) -> dict[str, Any]:
        """Return all that a claim says and depends on, JSON-able: what is frozen."""
        names = (claim.method, *claim.comparators, *claim.controls) if claim.method else ()
        shared = {"settings": self.settings, "alpha": self.alpha, "data_seed": self.data_seed}
        shared["protocols"] = {d: v for d, v in self.protocols.items() if d in claim.datasets}
        shared["least_rows"] = {d: n for d, n in self.least_rows.items() if d in claim.datasets}
        arms = {n: self.arm(n) for n in names}
        code = {n: known for n, arm in arms.items() if (known := code_of(arm.method))}
        return plain({**plain(claim), "arms": arms, "code": code, "set": shared})


def _settings_of(dataset: str) -> set[str]:
    return set() if is_table(dataset) else {f.name for f in fields(dataset_class(dataset).Config)}


@contextmanager
def named(where: str) -> Iterator[None]:
    """Put `where` before the message of a ConfigError that does not begin with it."""
    try:
        yield
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if text.startswith(where) else f"{where}: {text}") from None


def read_claims(path: Path) -> ClaimSet:
    """Read a claim set's TOML file, strictly: a ConfigError names the file, the claim and the nearest name."""
    values = read_toml(path)
    values.setdefault("name", path.stem)
    with named(str(path)):
        claims = _entries(values.get("claims", []), "claims")
        values["claims"] = [build(Claim, e, f"claim {e.get('id', e)!r}") for e in claims]
        values["arms"] = {name: _arm(name, arm) for name, arm in _table(values, "arms").items()}
        found = build(ClaimSet, values, str(path))
        found = replace(found, claims=tuple(found.filled(claim) for claim in found.claims))
        found.check()
        _check_shared(found)
    return found


def _check_shared(found: ClaimSet) -> None:
    """Refuse settings of the set for what takes part in no claim, and arms that no claim names."""
    used = {n for c in found.claims for n in (c.method, *c.comparators, *c.controls) if n}
    if idle := sorted(set(found.arms) - used):
        raise ConfigError(f"arm {idle[0]!r} takes part in no claim; name it in one, or leave it out.")
    texts = [found.arm(n).method for n in used]
    datasets = [d for c in found.claims for d in c.datasets]
    check_settings(found.settings, [resolve_method(t) for t in texts], texts, datasets)
    for name, values in (("protocols", found.protocols), ("least_rows", found.least_rows)):
        for dataset in values:
            if dataset not in datasets:
                raise ConfigError(f"{name}: {unknown('data set of these claims', dataset, set(datasets))}")


def _arm(name: str, values: Any) -> Arm:
    where = f"arm {name!r}"
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} = {values!r}: write it as a table, [arms.{name!r}].")
    choices = _entries(values.get("choices", []), f"{where}: choices")
    built = [build(Choice, c, f"{where}: choices") for c in choices]
    return build(Arm, {"name": name, **values, "choices": built}, where)


def _table(values: Values, name: str) -> Mapping[str, Any]:
    found = values.get(name, {})
    if not isinstance(found, Mapping):
        raise ConfigError(f"{name} = {found!r}: write it as a table, [{name}].")
    return found


def _entries(found: Any, name: str) -> Iterable[dict[str, Any]]:
    if not (isinstance(found, list) and all(isinstance(entry, dict) for entry in found)):
        raise ConfigError(f"{name} = {found!r}: write each entry as a table, [[{name}]].")
    return found
