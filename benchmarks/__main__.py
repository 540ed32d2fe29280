"""`python -m benchmarks [ROW...]`: run the rows in turn and print the table; exit code 1 if a bound does not hold."""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmarks.rig import Row, child, measure

MODULES = (
    "hop", "stages", "expressions", "latency", "scaling", "idle", "ingest", "planning", "server", "tables", "state",
)  # fmt: skip


def _row(module: str) -> Row:
    row: Row = importlib.import_module(f"benchmarks.{module}").ROW
    return row


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(MODULES)}; all without it")
    parser.add_argument("--runs", type=int, default=5, help="rounds of each way")
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual number of records")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--at", help=argparse.SUPPRESS)
    parser.add_argument("--records", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(_row(options.rows[0]).ways[options.child.partition("/")[2]], options.at, options.records)
        return 0
    failed = False
    for module in options.rows or MODULES:
        row = _row(module)
        print(f"\n{row.title} ({options.runs} rounds)", flush=True)
        for line in row.report(measure(module, row, options.runs, options.scale)):
            mark = {None: "", True: "holds", False: "DOES NOT HOLD"}[line.holds]
            failed |= line.holds is False
            print(f"  {line.what:<62} {line.figure:<40} {line.bound:>9}  {mark}".rstrip(), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
