"""The command ``purelens``."""

import argparse
import logging
import sys

from purelens.errors import UserError
from purelens.reruns.verify import as_json, report, verify


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status: 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="purelens", description="Look after the results of PureLens.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("verify", help="check every file of a results folder, and say what to rebuild")
    check.add_argument("results", help="the results folder, or a part of it")
    check.add_argument("--json", action="store_true", help="print the problems as JSON")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    try:
        n_files, problems = verify(chosen.results)
    except UserError as error:
        print(f"purelens: {error}", file=sys.stderr)
        return 1
    print(as_json(problems) if chosen.json else report(n_files, problems))
    return int(any(problem.rebuild for problem in problems))


if __name__ == "__main__":
    sys.exit(main())
