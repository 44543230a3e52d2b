"""How fast the mesh is: `python -m bench speed` is this."""

from __future__ import annotations

import sys

from bench.speed.commands import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
