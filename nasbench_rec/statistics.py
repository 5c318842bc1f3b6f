"""Statistics of comparisons: pure functions of arrays and small frames, each with a frozen result.

- is A better than B on this data? `paired_difference`, `paired_test`; on shared test rows also `delong_difference` and,
  over seeds, `noise_split`
- how large is it? the difference itself, `rank_biserial`
- could we have seen it? `minimum_detectable`, `seeds_needed`
- is A as good as B, or no worse? `equivalence`, `noninferiority`
- many comparisons: `holm` for those that a claim needs, `benjamini_hochberg` when exploring
- many methods on many data sets: `friedman`, then `post_hoc` with the cliques of a rank diagram
- are clusters stable, gates bimodal? `cluster_agreement`, `gate_bimodality`
- is the claim true? `verdict`, `equivalence_verdict`; in theory: `verdict_shares`, `equivalence_shares`

Values that are not finite are refused with a `DataError`, but for `paired_difference` and `paired_test`, which leave
such pairs out and count the rest.
"""

from __future__ import annotations

from nasbench_rec._stat_delong import (
    AucDifference,
    AucEstimate,
    NoiseSplit,
    delong,
    delong_difference,
    noise_split,
)
from nasbench_rec._stat_equivalence import MARGIN, Equivalence, equivalence, noninferiority
from nasbench_rec._stat_many import (
    AdjustedP,
    Friedman,
    PostHoc,
    RankComparison,
    benjamini_hochberg,
    cliques,
    critical_difference,
    friedman,
    holm,
    post_hoc,
)
from nasbench_rec._stat_paired import (
    BCA_FROM,
    EXACT_UP_TO,
    INTERVALS,
    RESAMPLES,
    PairedDifference,
    PairedTest,
    RankBiserial,
    paired_difference,
    paired_test,
    rank_biserial,
)
from nasbench_rec._stat_power import (
    MOST_SEEDS,
    Design,
    VerdictShares,
    equivalence_shares,
    minimum_detectable,
    seeds_needed,
    seeds_to_decide,
    verdict_shares,
)
from nasbench_rec._stat_stability import (
    ClusterAgreement,
    GateBimodality,
    Spread,
    cluster_agreement,
    gate_bimodality,
)
from nasbench_rec._stat_verdict import DECIDES_FROM, Outcome, Verdict, equivalence_verdict, verdict

__all__ = [
    "BCA_FROM",
    "DECIDES_FROM",
    "EXACT_UP_TO",
    "INTERVALS",
    "MARGIN",
    "MOST_SEEDS",
    "RESAMPLES",
    "AdjustedP",
    "AucDifference",
    "AucEstimate",
    "ClusterAgreement",
    "Design",
    "Equivalence",
    "Friedman",
    "GateBimodality",
    "NoiseSplit",
    "Outcome",
    "PairedDifference",
    "PairedTest",
    "PostHoc",
    "RankBiserial",
    "RankComparison",
    "Spread",
    "Verdict",
    "VerdictShares",
    "benjamini_hochberg",
    "cliques",
    "cluster_agreement",
    "critical_difference",
    "delong",
    "delong_difference",
    "equivalence",
    "equivalence_shares",
    "equivalence_verdict",
    "friedman",
    "gate_bimodality",
    "holm",
    "minimum_detectable",
    "noise_split",
    "noninferiority",
    "paired_difference",
    "paired_test",
    "post_hoc",
    "rank_biserial",
    "seeds_needed",
    "seeds_to_decide",
    "verdict",
    "verdict_shares",
]
