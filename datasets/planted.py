"""Planted truth: generated click data whose answer is known.

Known are the fields that matter, for which rows, and the best AUC. Fields, in order: the context fields of
the group rule (20 values each), a distractor (10), two common fields (50, 200), for each group a block of
three fields (30, 100, 400), two useless fields (50, 500). Values are drawn independently per field, with
P(rank j) ~ 1/j, or 1/sqrt(j) for context and distractor; ranks are shuffled over the ids.

Every value v of a common or block field has a latent a[v] ~ N(0, I_r). For a set S of fields

    B_S(x) = sqrt(1 - mu) std(sum over pairs a < b in S of <a_a, a_b> / sqrt(r))
           + sqrt(mu) std(sum over a in S of <w_a, a_a>),      |w_a| = 1,

with std = subtract the mean, divide by the deviation over all rows. The main effect is a linear functional of
the same latent, so it does not add to the useful width r. The logit of a row of group g is

    L = beta + s (sqrt(c) B_com + sqrt(1-c-k-q) sum over j of omega_gj B_j + sqrt(k) M_ctx + sqrt(q) M_dis),
    omega_gj = sqrt((1 - h) / G + h [g = j]),

so the variance of the signal is the same for every heterogeneity h. M_ctx is std of the sum of N(0, 1)
effects of the context values; M_dis is +1 or -1, a balanced split of the distractor's values. Labels are
drawn with P(y = 1) = sigmoid(L).

Groups: the values of each context field are split into sets of equal mass; `ctx`: the set of the one context
field; `vote`: the majority of three; `xor`: the parity of two. One seed gives the same ids, latents, effects
and label noise whatever h, s, beta, mu, c, k and q are, so data sets that differ in those are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from nasbench_rec.data import SPLITS, Dataset, DatasetInfo, DatasetSource, Field, Split
from nasbench_rec.errors import ConfigError, DataError, unknown
from nasbench_rec.metrics import expected_auc, expected_logloss

VERSION = "planted-1"
"""Changes whenever the same configuration gives other data."""
MIN_ROWS = 10

TierName = Literal["T0", "T1", "T2", "T3", "T4"]
Rule = Literal["ctx", "vote", "xor"]
Role = Literal["context", "distractor", "common", "block", "useless"]
CONTEXT_VALUES = 20
_CONTEXT_FIELDS = {"ctx": 1, "vote": 3, "xor": 2}


@dataclass(frozen=True)
class Tier:
    """What a tier sets: heterogeneity h, group rule, distractor share q."""

    heterogeneity: float
    rule: Rule
    distractor: float


TIERS: dict[str, Tier] = {
    "T0": Tier(0.0, "vote", 0.0),
    "T1": Tier(1.0, "ctx", 0.0),
    "T2": Tier(1.0, "vote", 0.0),
    "T3": Tier(1.0, "vote", 0.15),
    "T4": Tier(1.0, "xor", 0.0),
}


def _knob(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text, "source": "definition of the generator"})


@dataclass(frozen=True)
class PlantedConfig:
    """The knobs of the generator; None is what the tier says."""

    tier: TierName = _knob(
        "T2", "T0 no heterogeneity, T1 ctx, T2 vote (main), T3 vote with distractor, T4 xor (known failure)"
    )
    train: int = _knob(100_000, "rows of train")
    valid: int = _knob(20_000, "rows of valid")
    test: int = _knob(40_000, "rows of test")
    seed: int = _knob(0, "seed of the data (not of the training)")
    heterogeneity: float | None = _knob(
        None, "h: 0 all groups alike, 1 each group has its own block of fields"
    )
    rule: Rule | None = _knob(None, "what decides the group: ctx, vote or xor of the context fields")
    groups: int = _knob(2, "G: number of groups, each with a block of three fields; vote and xor have 2")
    rank: int = _knob(2, "r: dimension of the latents, the useful width of common and block fields")
    signal: float = _knob(1.7, "s: scale of the signal in the logit")
    beta: float = _knob(-1.0, "intercept of the logit")
    mu: float = _knob(0.5, "share of the main effects in the signal of a block, the rest are pairs")
    common: float = _knob(0.2, "c: share of the common fields in the signal")
    context: float = _knob(0.1, "k: share of the context fields' own effects in the signal")
    distractor: float | None = _knob(None, "q: share of the distractor in the signal")


class Planted(DatasetSource):
    """Generated data with a known answer in `truth`; rows carry their true probability and group.

    `truth` holds: generator, tier, knobs (all resolved), roles (per field), blocks (own fields per group),
    relevant_fields (per group: everything that moves its logit), useful_width (per field), useless_fields,
    sets (of each value of a context field, what the group rule sees), bayes_auc and bayes_logloss (expected,
    on test: the best that any model can reach), positive_rate (expected). Group numbers are text as keys.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="planted",
        title="Planted truth (generated)",
        rows="100,000 / 20,000 / 40,000 unless set otherwise",
        licence="generated, no licence",
        source="generated by this package, nothing to download: leave out --data-dir and --download",
        # No batch normalisation: with it iHAS recovered the groups worse (two seeds looked at).
        protocol={
            "dim": 8,
            "hidden": (64, 32),
            "batch_norm": False,
            "lr": 3e-3,
            "batch_size": 1024,
            "epochs": 12,
        },
    )
    generated: ClassVar[bool] = True
    Config: ClassVar[type] = PlantedConfig
    config: PlantedConfig

    def source_fingerprint(self, source: Path | None) -> str:
        """Return the generator's version; `source` is not used."""
        return VERSION

    def prepare(self, source: Path | None) -> Dataset:
        """Generate the data set from the configuration alone; `source` is not used.

        ConfigError names the knob that is out of range or contradicts another; DataError where so few rows
        are asked for that a split has one class only.
        """
        config = self.config
        tier = settle(config)
        world = _generate(config, tier)
        fields = [Field(plan.name, plan.values) for plan in world.plans]
        splits = _cut(config, world)
        vocabularies = {f.name: [str(value) for value in range(f.cardinality)] for f in fields}
        truth = _truth(config, tier, world)
        return Dataset(self.info.name, fields, splits, truth=truth, vocabularies=vocabularies)


def settle(config: PlantedConfig) -> Tier:
    """Return what the tier says where the knobs do not; ConfigError names a knob that is not valid."""
    if config.tier not in TIERS:
        raise ConfigError(unknown("tier", config.tier, TIERS))
    base = TIERS[config.tier]
    tier = Tier(
        base.heterogeneity if config.heterogeneity is None else config.heterogeneity,
        base.rule if config.rule is None else config.rule,
        base.distractor if config.distractor is None else config.distractor,
    )
    _check_shares(config, tier)
    _check_groups(config, tier)
    _check_numbers(config)
    return tier


def _check_shares(config: PlantedConfig, tier: Tier) -> None:
    shares = {"common": config.common, "context": config.context, "distractor": tier.distractor}
    for name, share in {"heterogeneity": tier.heterogeneity, "mu": config.mu, **shares}.items():
        if not 0 <= share <= 1:
            raise ConfigError(f"{name} is {share}; it is a share and must lie between 0 and 1")
    if sum(shares.values()) > 1 + 1e-9:
        text = " + ".join(f"{name} {share}" for name, share in shares.items())
        raise ConfigError(f"{text} is more than 1: these are shares of one signal; lower one of them")


def _check_groups(config: PlantedConfig, tier: Tier) -> None:
    if tier.rule not in get_args(Rule):
        raise ConfigError(unknown("rule", tier.rule, get_args(Rule)))
    most = CONTEXT_VALUES if tier.rule == "ctx" else 2
    if not 2 <= config.groups <= most:
        raise ConfigError(
            f"groups is {config.groups}; rule {tier.rule!r} can have {'2' if most == 2 else f'2 to {most}'}"
            + ("; more groups need rule 'ctx' (tier T1)" if most == 2 else "")
        )


def _check_numbers(config: PlantedConfig) -> None:
    least = {"train": MIN_ROWS, "valid": MIN_ROWS, "test": MIN_ROWS, "seed": 0, "rank": 1, "signal": 0}
    for name, low in least.items():
        value = getattr(config, name)
        if not low <= value < np.inf:
            raise ConfigError(f"{name} is {value}; it must be at least {low}")
    if not np.isfinite(config.beta):
        raise ConfigError(f"beta is {config.beta}; it must be a finite number")


@dataclass(frozen=True)
class _Plan:
    name: str
    role: Role
    values: int
    block: int | None = None


@dataclass(frozen=True, eq=False)
class _Parts:
    """The parts of the signal, each of about unit variance over the N rows."""

    common: np.ndarray  # [N]
    blocks: np.ndarray  # [N, G]
    context: np.ndarray  # [N]
    distractor: np.ndarray  # [N]


@dataclass(frozen=True, eq=False)
class _World:
    """All rows of all splits: N rows, F fields."""

    plans: list[_Plan]
    sets: list[np.ndarray]  # per field: the set of each value
    ids: np.ndarray  # [N, F]
    groups: np.ndarray  # [N]
    logits: np.ndarray  # [N]
    probabilities: np.ndarray  # float32 [N]
    labels: np.ndarray  # [N]


def _layout(rule: Rule, groups: int) -> list[_Plan]:
    context = [_Plan(f"context_{i}", "context", CONTEXT_VALUES) for i in range(_CONTEXT_FIELDS[rule])]
    common = [_Plan(f"common_{i}", "common", n) for i, n in enumerate((50, 200))]
    blocks = [
        _Plan(f"block{g}_{i}", "block", n, g) for g in range(groups) for i, n in enumerate((30, 100, 400))
    ]
    useless = [_Plan(f"useless_{i}", "useless", n) for i, n in enumerate((50, 500))]
    return [*context, _Plan("distractor", "distractor", 10), *common, *blocks, *useless]


def _generate(config: PlantedConfig, tier: Tier) -> _World:
    plans = _layout(tier.rule, config.groups)
    rows = config.train + config.valid + config.test
    # A stream each, so that a knob that changes one part leaves the draws of the others alone.
    values, latents, effects, noise = np.random.default_rng(config.seed).spawn(4)
    ids, masses = _draw_ids(plans, rows, values)
    sets = [
        balanced_sets(mass, config.groups if plan.role == "context" else 2)
        for plan, mass in zip(plans, masses, strict=True)
    ]
    groups = _assign(tier.rule, np.stack([sets[f][ids[:, f]] for f in _where(plans, "context")], axis=1))
    parts = _draw_parts(config, plans, ids, sets, latents, effects)
    logits = _logits(config, tier, groups, parts)
    p = _sigmoid(logits)
    return _World(plans, sets, ids, groups, logits, p.astype(np.float32), noise.random(rows) < p)


def _where(plans: Sequence[_Plan], role: Role, block: int | None = None) -> list[int]:
    return [f for f, plan in enumerate(plans) if plan.role == role and plan.block == block]


def _draw_ids(
    plans: Sequence[_Plan], rows: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return ids [N, F] and, per field, the probability of each id."""
    ids = np.empty((rows, len(plans)), dtype=np.int32)
    masses = []
    for f, plan in enumerate(plans):
        power = 0.5 if plan.role in ("context", "distractor") else 1.0
        by_rank = np.arange(1, plan.values + 1) ** -power
        by_rank /= by_rank.sum()
        id_of_rank = rng.permutation(plan.values)
        ids[:, f] = id_of_rank[np.searchsorted(by_rank.cumsum()[:-1], rng.random(rows), side="right")]
        masses.append(by_rank[np.argsort(id_of_rank)])
    return ids, masses


def balanced_sets(mass: np.ndarray, parts: int) -> np.ndarray:
    """Return the set of each value: `parts` sets of nearly equal mass, from the values' probabilities [n].

    Values go, the most probable first, to the set that is lightest so far.
    """
    sets = np.empty(len(mass), dtype=np.int32)
    weights = np.zeros(parts)
    for value in np.argsort(-mass, kind="stable"):
        sets[value] = np.argmin(weights)
        weights[sets[value]] += mass[value]
    return sets


def _assign(rule: Rule, sets: np.ndarray) -> np.ndarray:
    """Return the group of each row from the sets of its context values [N, contexts]."""
    if rule == "ctx":
        groups = sets[:, 0]
    elif rule == "vote":
        groups = sets.sum(axis=1) * 2 > sets.shape[1]
    else:
        groups = sets.sum(axis=1) % 2
    return groups.astype(np.int32)


def _draw_parts(
    config: PlantedConfig,
    plans: Sequence[_Plan],
    ids: np.ndarray,
    sets: Sequence[np.ndarray],
    latents: np.random.Generator,
    effects: np.random.Generator,
) -> _Parts:
    common = _draw_block(config, plans, ids, _where(plans, "common"), latents)
    blocks = [
        _draw_block(config, plans, ids, _where(plans, "block", g), latents) for g in range(config.groups)
    ]
    context = np.zeros(len(ids))
    for f in _where(plans, "context"):
        context += effects.standard_normal(plans[f].values)[ids[:, f]]
    (dis,) = _where(plans, "distractor")
    return _Parts(common, np.stack(blocks, axis=1), _std(context), 2.0 * sets[dis][ids[:, dis]] - 1)


def _draw_block(
    config: PlantedConfig,
    plans: Sequence[_Plan],
    ids: np.ndarray,
    chosen: Sequence[int],
    rng: np.random.Generator,
) -> np.ndarray:
    """Return B_S [N] for the fields `chosen`, with fresh latents a [n_f, r] and directions w [r]."""
    total = np.zeros((len(ids), config.rank))
    squares, main = np.zeros(len(ids)), np.zeros(len(ids))
    for f in chosen:
        a = rng.standard_normal((plans[f].values, config.rank))
        w = rng.standard_normal(config.rank)
        total += a[ids[:, f]]
        squares += (a**2).sum(axis=1)[ids[:, f]]
        main += ((a * w).sum(1) / np.linalg.norm(w))[ids[:, f]]
    # The sum over pairs, as (|sum a|^2 - sum |a|^2) / 2.
    pairs = ((total**2).sum(axis=1) - squares) / (2 * np.sqrt(config.rank))
    return np.sqrt(1 - config.mu) * _std(pairs) + np.sqrt(config.mu) * _std(main)


def _logits(config: PlantedConfig, tier: Tier, groups: np.ndarray, parts: _Parts) -> np.ndarray:
    omega = np.sqrt((1 - tier.heterogeneity) / config.groups + tier.heterogeneity * np.eye(config.groups))
    signal = (
        np.sqrt(config.common) * parts.common
        + np.sqrt(_block_share(config, tier)) * (omega[groups] * parts.blocks).sum(axis=1)
        + np.sqrt(config.context) * parts.context
        + np.sqrt(tier.distractor) * parts.distractor
    )
    return config.beta + config.signal * signal


def _block_share(config: PlantedConfig, tier: Tier) -> float:
    share = 1 - config.common - config.context - tier.distractor
    return share if share > 1e-9 else 0.0


def _std(x: np.ndarray) -> np.ndarray:
    deviation = x.std()
    if deviation == 0:
        raise DataError(f"train, valid and test have {len(x)} rows, too few for any variation; raise train")
    return (x - x.mean()) / deviation


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -logits))


def _cut(config: PlantedConfig, world: _World) -> dict[str, Split]:
    whole = Split(world.ids, world.labels.astype(np.float32), world.probabilities, world.groups)
    ends = np.cumsum([0, config.train, config.valid, config.test]).tolist()
    splits = {name: whole.take(slice(ends[i], ends[i + 1])) for i, name in enumerate(SPLITS)}
    for name, split in splits.items():
        if len(np.unique(split.labels)) < 2:
            raise DataError(
                f"{name} has {len(split)} rows, all with the same label; raise {name} or move beta towards 0"
            )
    return splits


def _truth(config: PlantedConfig, tier: Tier, world: _World) -> dict[str, Any]:
    plans, p = world.plans, world.probabilities[-config.test :]
    widths = {plan.name: _useful_width(config, tier, plan) for plan in plans}
    return {
        "generator": VERSION,
        "tier": config.tier,
        "knobs": asdict(replace(config, **asdict(tier))),
        "roles": {plan.name: plan.role for plan in plans},
        "blocks": {str(g): [plan.name for plan in plans if plan.block == g] for g in range(config.groups)},
        "relevant_fields": {str(g): _relevant(plans, widths, tier, g) for g in range(config.groups)},
        "useful_width": widths,
        "useless_fields": [name for name, width in widths.items() if width == 0],
        "sets": {plans[f].name: world.sets[f].tolist() for f in _where(plans, "context")},
        "bayes_auc": expected_auc(p, p),
        "bayes_logloss": expected_logloss(p, world.logits[-config.test :]),
        "positive_rate": float(world.probabilities.mean()),
    }


def _useful_width(config: PlantedConfig, tier: Tier, plan: _Plan) -> int:
    """How many columns of the field carry signal: r for a latent with pairs, one for a mere main effect."""
    latent = 1 if config.mu == 1 else config.rank
    width = {
        "context": (tier.heterogeneity > 0 and _block_share(config, tier) > 0) + (config.context > 0),
        "distractor": int(tier.distractor > 0),
        "common": latent * (config.common > 0),
        "block": latent * (_block_share(config, tier) > 0),
        "useless": 0,
    }
    return int(width[plan.role] * (config.signal > 0))


def _relevant(plans: Sequence[_Plan], widths: dict[str, int], tier: Tier, group: int) -> list[str]:
    own = [plan for plan in plans if plan.block in (None, group) or tier.heterogeneity < 1]
    return [plan.name for plan in own if widths[plan.name] > 0]
