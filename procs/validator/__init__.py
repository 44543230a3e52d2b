"""Validator: is what the lake holds all there, once, and right?

    python -m procs.validator                       every day that is not judged to its end, today so far among them
    python -m procs.validator --date 2025-10-20     that day
    python -m procs.validator --lake data           of a lake, without a pipeline file
    python -m procs.validator --klines              and with the venue's own bars, also of a day that is still open
    python -m procs.validator --json                the certificates, for a program

Exit code 0 where all is right, 1 where something is wrong, 2 where the question is. A sealed hour is judged once and
remembered for as long as its lines and rows stay the same. What it finds is written to quality/, and the compactor is
asked for the hours whose bars differ from the archive.
"""

from __future__ import annotations

from shared.config import StageConfig


class Config(StageConfig, kw_only=True, frozen=True):
    klines: bool = True
    """Bars of closed days are compared with the venue's own, within a tenth of its REST limit."""
