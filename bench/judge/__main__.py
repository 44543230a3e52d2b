"""A lake against a ledger.

python -m bench.judge LAKE LEDGER              the ledger of `bench.standin`
python -m bench.judge LAKE CAPTURE...  --venue binance_usdm
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.judge.ledger import from_captures, from_standin
from bench.judge.verdict import judge


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lake", type=Path)
    parser.add_argument("ledger", type=Path, nargs="+")
    parser.add_argument("--venue", default="binance")
    options = parser.parse_args()
    captures = all(path.suffix == ".gz" for path in options.ledger)
    ledger = from_captures(options.ledger) if captures else from_standin(options.ledger[0])
    report, _ = judge(options.lake, ledger, options.venue)
    sys.stdout.write(f"{report}\n")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
