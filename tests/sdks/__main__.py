"""``python -m tests.sdks [row…]``: every SDK through every scenario, as a table."""

import argparse
import asyncio
import sys

from tests.sdks.environments import Unavailable, prepare
from tests.sdks.rows import ROWS, Row
from tests.sdks.scenarios import SCENARIOS, play
from tests.sdks.stage import Ended, Failed, staged

_FAILED = "FAIL"
_LEGEND = """
ok 1:2 is: the SDK made 1 call of it, WeChat saw 2.
– is: the SDK has no such call, or none that can be run here."""


async def _play_all(row: Row) -> tuple[list[str], list[str]]:
    """The row's cells, and a line for each failure."""
    command, more = prepare(row)
    cells, failures = [], []
    async with staged(row, command, more) as stage:
        for name in SCENARIOS:
            try:
                cells.append(await play(stage, name))
            except Failed as exc:
                cells.append(_FAILED)
                failures.append(f"{row.name}, {name}: {exc}")
                if isinstance(exc, Ended):
                    break
    return cells, failures


def _line(cells: list[str]) -> str:
    first, *others = cells
    return f"{first:30}" + "".join(f"{cell:11}" for cell in others).rstrip()


def main() -> int:
    """Run the rows whose name begins with one of the arguments, or all.

    Returns:
        0; 1 where a scenario failed or a package could not be had. A machine without PHP or
        curl only leaves their rows out.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.sdks", description=__doc__)
    parser.add_argument("row", nargs="*", help="beginning of a row's name, as wechatpy")
    wanted = tuple(parser.parse_args().row) or ("",)
    rows = [row for row in ROWS if row.name.startswith(wanted)]
    if not rows:
        parser.error(f"no such row; there are: {', '.join(row.name for row in ROWS)}")

    failures: list[str] = []
    print(_line(["SDK", *SCENARIOS]))
    for row in rows:
        try:
            cells, failed = asyncio.run(_play_all(row))
        except Unavailable as exc:
            cells, failed = [f"not run: {exc}"], []
            if row.package:
                failed = [f"{row.name}: {exc}"]
        print(_line([row.name, *cells]), flush=True)
        failures += failed
    print(_LEGEND)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
