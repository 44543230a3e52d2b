"""Ingest: the venue's websocket and REST become records, each received once, stamped once, in its journal before all
else.
"""

from procs.ingest.config import Config

__all__ = ["Config"]
