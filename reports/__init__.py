"""From records (pandas frames) to tables, figures and pages; neither torch nor ray is imported here."""

from nasbench_rec.reports._rows import LeaderboardRow
from nasbench_rec.reports._terminal import terminal
from nasbench_rec.reports.figures import auc_over_bytes_frame, draw_auc_over_bytes
from nasbench_rec.reports.leaderboard import leaderboard_frame, write_leaderboard

__all__ = [
    "LeaderboardRow",
    "auc_over_bytes_frame",
    "draw_auc_over_bytes",
    "leaderboard_frame",
    "terminal",
    "write_leaderboard",
]
