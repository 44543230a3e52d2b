"""``python -m procs.validator``."""

from __future__ import annotations

import sys

import procs.validator
from procs.validator import Config
from procs.validator.work import validate
from shared.errand import run

sys.exit(run("validator", Config, validate, procs.validator.__doc__ or ""))
