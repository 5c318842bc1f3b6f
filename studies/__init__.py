"""Named sets of units: leaderboards (later: hyper-parameter studies, ablations, claims)."""
