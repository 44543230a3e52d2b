"""Records crypto market data into a lake that you own: ``python supervisor.py`` runs it all, ``--help`` says the rest.

pipeline.yml             what runs and what it reads (shared/config.py, shared/topology.py)
supervision/loop.py      starts, watches, restarts and stops one process a stage
shared/lifecycle.py      the rules it follows, as a table
supervision/commands.py  what else can be asked: check, graph, status, tap, restart, stop, start, sql, demo
procs/<name>.py          the stages themselves; each also runs alone, python -m procs.<name>
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from supervision import commands
from supervision.loop import Supervisor


def main(argv: Sequence[str] | None = None) -> int:
    """Without a command the mesh runs, until Ctrl-C or until every source has ended. Returns the exit code."""
    arguments = commands.parse(sys.argv[1:] if argv is None else argv)
    if arguments.command != "run":
        return commands.answer(arguments)
    with commands.prepared(arguments) as (pipeline, ground):
        return Supervisor(pipeline, ground).run()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before or behind the loop, which takes Ctrl-C for a wish to drain
        sys.exit(130)
