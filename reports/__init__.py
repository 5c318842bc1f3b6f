"""From records (pandas frames) to tables, figures and pages; neither torch nor ray is imported here."""

from nasbench_rec.reports._rows import LeaderboardRow
from nasbench_rec.reports.figures import auc_over_bytes_frame, draw_auc_over_bytes
from nasbench_rec.reports.leaderboard import leaderboard_frame, write_leaderboard
from nasbench_rec.reports.terminal import leaderboard_tables, print_leaderboard

__all__ = [
    "LeaderboardRow",
    "auc_over_bytes_frame",
    "draw_auc_over_bytes",
    "leaderboard_frame",
    "leaderboard_tables",
    "print_leaderboard",
    "write_leaderboard",
]
