"""The demo: a small simulated survey, its templates, and what they gained, in numbers and pictures."""

from dcrflow.demo.from_visits import run_visits_demo
from dcrflow.demo.run import DemoReport, run_demo

__all__ = ["DemoReport", "run_demo", "run_visits_demo"]
