"""Failure signatures of iHAS: what a run's own numbers say went wrong, in words.

Each check compares a measurement of the record with a limit. Limits come from searches on planted data with known
answers (100,000 rows, D = 112 gates; "recovered": adjusted Rand index of the clusters with the true groups above
.9), so on other data they say where to look and are no verdict. A check whose numbers are missing is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasbench_rec.searcher import Finding

if TYPE_CHECKING:
    from nasbench_rec.methods.ihas import IHASConfig

POLARIZED = 0.75
"""Least share of pi within .1 of 0 or 1: .62 to .71 without a regularizer, .81 to 1.0 with polarization."""

ONE_PEAK_P = 0.05
"""p-value of the dip test above which one peak is not excluded; .00 in runs with two groups, .99 with t = -2."""

MOVING = 0.02
"""Change of the mean of pi, or of its share near 0 and 1, in the last epoch from which more epochs are advised;
the share changed by about .01 or less after 12 epochs."""

STATIC = 0.1
"""Least Hamming distance of two samples' masks, as a share of what gates open at random at the same rate have: .00
with lambda .2, .03 and .07 with tau .05 and .1 (groups missed); .31 to .79 where groups were recovered."""

EQUAL_MASKS = 0.02
"""Least share of columns in which the masks of two clusters differ: .00 with lambda .2; .09 to .29 where groups were
recovered (theta .25)."""

TINY = 0.1
"""Least size of a cluster, as a share of an equal part of the rows. Not measured: a model of a tenth of its part sees
rare values next to never, and even halving the rows at random cost .03 AUC."""

SILHOUETTE = 0.12
"""Least silhouette: .13 to .32 for clusters that found the groups; .05 to .11 for most that missed them, but up to .53
for others, so that a large one is no evidence of the right clusters."""

STABLE = 0.8
"""Least agreement (adjusted Rand) of the clusters with those of other seeds: .98 to 1.0 in six of eight recovered runs,
.48 and .52 in the two others, where K-Means has more than one answer."""

ACTIVE_PER_UNDECIDED = 0.4
"""Least number of gates with |dm/dlogit| > .05 per gate with pi in .1...9, over the gated epochs: .6 to .9 with tau .5,
.45 with .2, .27 and less with .1 and .05, 0 with 5 and more. How polarized pi is hardly matters, unlike for the share
of all gates."""

STEEP = 0.05
"""The slope |dm/dlogit| of `active`; the steepest that a temperature allows is 1 / (4 tau)."""

ALL_ON = 0.95
"""Largest mean share of gates kept: .98 with t = -2, .71 without any regularizer."""

ALL_OFF = 0.02
"""Least mean share of gates kept: .05 (t = 2) still recovered the groups; .02 are 2 of 112 columns."""

SERVE_GAP = 0.005
"""Largest loss of AUC from sampled masks (training) to deterministic ones (serving) on the same rows: soft masks lose
.002 at tau .5, .010 at tau 2, .024 to .051 at tau 5; hard ones gain .000 to .006."""

ONE_FIELD = 0.8
"""Largest share of the clusters' entropy that one field explains: .89 to 1.0 where clusters are one field's values
split in two, .16 to .19 for each of the three fields that vote on the true groups."""

DRIFT = 0.1
"""Largest share of rows that are routed otherwise in test than in train (total variation); a random split of 40,000
rows has below .01. Not measured on drifting data."""

CALIBRATION = 0.05
"""Largest gap between a cluster's mean prediction and its positive rate on test: about .02 at most on planted data; .38
in a run on Frappe in which a cluster's training stopped after its first epoch, at a loss of .014 AUC."""


@dataclass(frozen=True)
class _Run:
    """What a check may look at."""

    config: IHASConfig
    diagnostics: Mapping[str, Any]
    routing: Mapping[str, Any] | None

    def get(self, path: str) -> Any:
        """Return the value at a dotted path of the diagnostics; None where it is missing."""
        found: Any = self.diagnostics
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    @property
    def gated(self) -> list[Mapping[str, Any]]:
        """The entries of the trend that were measured."""
        return [e for e in self.get("search.trend") or () if e.get("active") is not None]


def findings(
    config: IHASConfig, diagnostics: Mapping[str, Any], routing: Mapping[str, Any] | None
) -> list[Finding]:
    """Return the failure signatures of a run with `config`; [] for a healthy one.

    `diagnostics` are the record's, under "search" and "derive"; `routing` the record's, None without clusters.
    """
    run = _Run(config, diagnostics, routing)
    return [found for check in CHECKS if (found := check(run)) is not None]


def _percent(share: float) -> str:
    return f"{100 * share:.{0 if share >= 0.1 else 1}f} %"


def _bimodal(run: _Run) -> Finding | None:
    found = run.get("derive.bimodality.train")
    if found is None:
        return None
    near = found["near_0"] + found["near_1"]
    sides = f"{_percent(found['near_0'])} lie below .1, {_percent(found['near_1'])} above .9"
    if near < POLARIZED:
        evidence = (
            f"only {_percent(near)} of the gate probabilities lie within .1 of 0 or 1 (limit {_percent(POLARIZED)}): "
            f"{sides}"
        )
    elif found.get("valley") is None or (found.get("dip_p") or 0.0) > ONE_PEAK_P:
        evidence = f"the gate probabilities have one peak, not two: {sides}, and no valley parts two groups"
    else:
        return None
    return Finding("probabilities-not-bimodal", evidence, _polarize(run))


def _polarize(run: _Run) -> str:
    c = run.config
    if c.lam == 0 and not c.lam_polarization:
        return "the regularizer was off (lam = 0): set lam, e.g. to 0.05"
    if c.lam_polarization == 0 or (c.lam_polarization is None and c.lam == 0):
        return (
            "the polarization part was off: set lam_polarization, if two groups of probabilities are wanted"
        )
    trend = [(e["mean"], e["near_0"] + e["near_1"]) for e in run.gated]
    if (
        len(trend) > 1
        and max(abs(now - before) for now, before in zip(trend[-1], trend[-2], strict=True)) > MOVING
    ):
        (mean_before, near_before), (mean, near) = trend[-2:]
        return (
            f"the probabilities still moved in the last epoch (mean from {mean_before:.2f} to {mean:.2f}, near 0 or 1 "
            f"from {_percent(near_before)} to {_percent(near)}): train more gated epochs, or raise gate_lr"
        )
    return "raise lam or lam_polarization, bring t nearer to 1, or raise gate_lr"


def _static(run: _Run) -> Finding | None:
    differ, kept = run.get("derive.hamming.between_samples"), run.get("derive.sample_keep_rate.mean")
    if differ is None or kept is None:
        return None
    by_chance = 2 * kept * (1 - kept)
    # Masks that keep all or nothing are equal for that reason, and have findings of their own.
    if not ALL_OFF <= kept <= ALL_ON or differ >= STATIC * by_chance:
        return None
    by = f"the {_percent(by_chance)} of gates open at random at the same rate, {_percent(kept)}"
    evidence = (
        f"all samples get nearly the same mask: two samples differ in {_percent(differ)} of the gates (limit: "
        f"{_percent(STATIC)} of {by}). What was found is a static selection, as by DimReg"
    )
    most = max((e["hamming"] for e in run.gated if e.get("hamming") is not None), default=0.0)
    if most > max(2 * differ, 0.01):
        evidence += f"; during the search they had differed in {_percent(most)}"
    warm = " or warmup_epochs = 0" if run.config.warmup_epochs else ""
    return Finding("static-masks", evidence, f"lower lam, set lam_polarization = 0{warm}; " + _TAU_HINT)


_TAU_HINT = "if gates-hardly-learn is reported too, change tau first"


def _one_cluster(run: _Run) -> Finding | None:
    found, wanted = run.get("derive.clusters"), run.get("derive.k_wanted")
    if found is None or wanted is None or found >= wanted:
        return None
    left = "one cluster is" if found == 1 else f"{found} clusters are"
    return Finding(
        "one-cluster",
        f"{left} left of the {wanted} that were asked for: the others got no rows",
        "lower k; where the gates have a finding too (static-masks, all-on, all-off), follow its advice first",
    )


def _equal_masks(run: _Run) -> Finding | None:
    differ = run.get("derive.hamming.cluster_masks")
    if differ is None or differ >= EQUAL_MASKS:
        return None
    theta = run.get("derive.theta")
    cuts = f" (cuts theta: {', '.join(f'{x:g}' for x in theta)})" if theta else ""
    return Finding(
        "equal-cluster-masks",
        f"the masks of two clusters differ in {_percent(differ)} of the columns on average "
        f"(limit {_percent(EQUAL_MASKS)}){cuts}: the clusters' models have the same architecture",
        "cluster on the masks (cluster_on = mask), try another threshold, or lower k; one model would do as well",
    )


def _tiny(run: _Run) -> Finding | None:
    sizes = run.get("derive.cluster_sizes")
    if not sizes or len(sizes) < 2:
        return None
    least, equal = min(sizes), sum(sizes) / len(sizes)
    if least >= TINY * equal:
        return None
    return Finding(
        "tiny-cluster",
        f"the smallest of {len(sizes)} clusters has {least} of {sum(sizes)} rows, {_percent(least / equal)} of an "
        f"equal part (limit {_percent(TINY)}): a model of its own is trained on these alone",
        f"lower k (now {run.config.k}), raise restarts, or cluster on other features (cluster_on)",
    )


def _separation(run: _Run) -> Finding | None:
    silhouette, apart = run.get("derive.silhouette"), run.get("derive.separation")
    if silhouette is None or silhouette >= SILHOUETTE:
        return None
    more = (
        "" if apart is None else f"; the nearest centroids are {apart:.2f} times a row's mean distance apart"
    )
    return Finding(
        "poor-separation",
        f"the clusters run into each other: silhouette {silhouette:.3f} (limit {SILHOUETTE}){more}",
        f"lower k (now {run.config.k}) or cluster on the masks (cluster_on = mask; now {run.config.cluster_on})",
    )


def _unstable(run: _Run) -> Finding | None:
    agreement = run.get("derive.stability")
    if agreement is None or agreement >= STABLE:
        return None
    return Finding(
        "unstable-clusters",
        f"with other seeds K-Means finds other clusters in the same rows: mean adjusted Rand index {agreement:.2f} "
        f"(limit {STABLE})",
        f"raise restarts (now {run.config.restarts}), lower k (now {run.config.k}), or cluster on other features",
    )


def _learning(run: _Run) -> Finding | None:
    undecided = sum(1 - e["near_0"] - e["near_1"] for e in run.gated)
    if undecided <= 0:
        return None
    share = sum(e["active"] for e in run.gated) / undecided
    if share >= ACTIVE_PER_UNDECIDED:
        return None
    gradient = max(e["gate_gradient"] for e in run.gated)
    evidence = (
        f"few gates pass a gradient: {share:.2f} gates with a slope |dm/dlogit| above {STEEP} per undecided gate "
        f"(limit {ACTIVE_PER_UNDECIDED}); the gates' gradient was at most {gradient:.1e} (root mean square, best epoch)"
    )
    steepest = 1 / (4 * max(e["tau"] for e in run.gated))
    if steepest < STEEP:
        evidence += f"; at this temperature no slope exceeds {steepest:.3f}"
        return Finding("gates-hardly-learn", evidence, f"lower tau (now {run.config.tau:g}), e.g. to 0.5")
    return Finding(
        "gates-hardly-learn",
        evidence,
        f"raise tau (now {run.config.tau:g}), e.g. to 0.5, or start higher and anneal it (tau_end)",
    )


def _all_on(run: _Run) -> Finding | None:
    kept = run.get("derive.sample_keep_rate.mean")
    if kept is None or kept <= ALL_ON:
        return None
    return Finding(
        "all-on",
        f"samples keep {_percent(kept)} of their gates on average (limit {_percent(ALL_ON)}): nothing is selected",
        f"raise t (now {run.config.t:g}) or lam (now {run.config.lam:g}), or train more gated epochs",
    )


def _all_off(run: _Run) -> Finding | None:
    kept = run.get("derive.sample_keep_rate.mean")
    if kept is None or kept >= ALL_OFF:
        return None
    return Finding(
        "all-off",
        f"samples keep {_percent(kept)} of their gates on average (limit {_percent(ALL_OFF)}): hardly anything is left",
        f"lower t (now {run.config.t:g}) or lam (now {run.config.lam:g})",
    )


def _serve_gap(run: _Run) -> Finding | None:
    served, sampled = run.get("search.search_scores"), run.get("search.sampled_scores")
    if served is None or sampled is None:
        return None
    lost = sampled["auc"] - served["auc"]
    if lost <= SERVE_GAP:
        return None
    kind = "0/1" if run.config.hard else "soft"
    return Finding(
        "train-serve-gap",
        f"the search model loses {lost:.4f} AUC (limit {SERVE_GAP}) when its masks are deterministic: "
        f"{served['auc']:.4f}, against {sampled['auc']:.4f} with the sampled {kind} masks of training on the same rows",
        f"set hard = true or lower tau (now {run.config.tau:g}; tau_end anneals it)"
        if not run.config.hard
        else "polarize the probabilities more (lam, lam_polarization), or try selection = valley",
    )


def _one_field(run: _Run) -> Finding | None:
    explained = run.get("derive.cluster_field_information")
    if not explained:
        return None
    name = max(explained, key=lambda field: explained[field])
    if explained[name] <= ONE_FIELD:
        return None
    return Finding(
        "one-field",
        f"the clusters follow one field: the value of {name!r} explains {_percent(explained[name])} of their entropy "
        f"(limit {_percent(ONE_FIELD)})",
        "compare with clusters = field, which routes by that value alone and far cheaper; clustering on the masks "
        "(cluster_on = mask) is less drawn to one strong field",
    )


def _drift(run: _Run) -> Finding | None:
    drift = None if run.routing is None else run.routing.get("drift")
    if drift is None or drift <= DRIFT:
        return None
    return Finding(
        "routing-drift",
        f"test rows are routed otherwise than training rows: the clusters' shares differ by {_percent(drift)} of the "
        f"rows (limit {_percent(DRIFT)})",
        "see the shares per split in the record's routing; lower k, or search on later rows",
    )


def _calibration(run: _Run) -> Finding | None:
    clusters: list[Mapping[str, Any]] = [] if run.routing is None else list(run.routing.get("clusters", ()))
    gaps = {
        i: abs(c["mean_prediction"] - c["positive_rate"])
        for i, c in enumerate(clusters)
        if c["mean_prediction"] is not None
    }
    if max(gaps.values(), default=0.0) <= CALIBRATION:
        return None
    i = max(gaps, key=lambda cluster: gaps[cluster])
    worst = clusters[i]
    rates = f"{worst['mean_prediction']:.3f} on average where {worst['positive_rate']:.3f} are positive"
    return Finding(
        "uncalibrated-cluster",
        f"the model of cluster {i} predicts {rates} (limit of the gap {CALIBRATION}): scores of clusters do not "
        "compare, which the pooled AUC needs",
        "see history.best_epoch for a training that stopped at once (raise protocol.patience, or monitor = logloss), "
        f"or lower k (now {run.config.k})",
    )


CHECKS: tuple[Callable[[_Run], Finding | None], ...] = (
    _learning,
    _bimodal,
    _all_on,
    _all_off,
    _static,
    _serve_gap,
    _one_cluster,
    _equal_masks,
    _tiny,
    _separation,
    _unstable,
    _one_field,
    _drift,
    _calibration,
)
"""In the order of the stages: what comes first may be why later ones fail."""
