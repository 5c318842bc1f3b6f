"""Named sets of units: leaderboards, ablations (later: hyper-parameter studies, claims)."""
