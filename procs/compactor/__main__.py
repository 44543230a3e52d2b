"""``python -m procs.compactor``."""

from __future__ import annotations

import sys

import procs.compactor
from procs.compactor import Config
from procs.compactor.work import compact
from shared.errand import run

sys.exit(run("compactor", Config, compact, procs.compactor.__doc__ or ""))
