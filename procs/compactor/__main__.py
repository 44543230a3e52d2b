"""``python -m procs.compactor``."""

from __future__ import annotations

import sys

import procs.compactor
from procs.compactor import Config
from procs.compactor.work import compact
from shared.errand import run

FLAGS = {"accept-missing": "with --date: lines of that day that are gone were removed on purpose; its ticks stay"}

sys.exit(run("compactor", Config, compact, procs.compactor.__doc__ or "", flags=FLAGS))
