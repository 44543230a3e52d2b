"""Compactor: everything sealed, folded. Minutes into hours, hours into days, lines into ticks, and checksums over all.

    python -m procs.compactor                       what is sealed and not folded yet, as the pipeline file says
    python -m procs.compactor --date 2025-10-20     only that day, and once more whether its files are as they should be
    python -m procs.compactor --lake data           of a lake, without a pipeline file

It also installs what the validator has asked for and what ``python -m procs.aggregator --date`` has made. It can be
killed at any instant, and running it twice changes nothing.
"""

from procs.compactor.work import Config, compact

__all__ = ["Config", "compact"]
