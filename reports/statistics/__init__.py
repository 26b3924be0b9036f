"""Statistics: intervals by a seeded bootstrap, curves, profiles; pure functions of scores (num_runs, num_tasks)."""

from reports.statistics.curves import area_under_curve, reach, steps_to_reach
from reports.statistics.intervals import STATISTICS, Interval, Statistic, interval
from reports.statistics.profiles import performance_profile, probability_of_improvement

__all__ = [
    "STATISTICS",
    "Interval",
    "Statistic",
    "area_under_curve",
    "interval",
    "performance_profile",
    "probability_of_improvement",
    "reach",
    "steps_to_reach",
]
