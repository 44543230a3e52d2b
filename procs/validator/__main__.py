"""``python -m procs.validator``."""

from __future__ import annotations

import sys

import procs.validator
from procs.validator import Config
from procs.validator.work import validate
from shared.errand import run

FLAGS = {"klines": "compare with the venue's own bars, also of a day that is still open"}

sys.exit(run("validator", Config, validate, procs.validator.__doc__ or "", flags=FLAGS))
