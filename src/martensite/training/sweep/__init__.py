"""Sweeps: eps, objective and parameters tried out with successive halving; the Pareto front, and one point of it chosen."""

from martensite.training.sweep.outcome import Outcome, front
from martensite.training.sweep.plan import Point, SweepPlan, grid
from martensite.training.sweep.run import SweepResult, sweep

__all__ = ["Outcome", "Point", "SweepPlan", "SweepResult", "front", "grid", "sweep"]
