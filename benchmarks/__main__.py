"""``python -m benchmarks [NAME]``: measure; without a name, all that the goals ask for. ``NAME --help`` says more."""

from __future__ import annotations

import importlib
import signal
import sys

from benchmarks.every import STEPS

COMMANDS = {
    **{each.name: each.purpose for each in STEPS if each.purpose},
    "access": "what it costs that each caller sees their own",
    "audit": "what it costs that everything is on record",
    "figures": "questions about a province",
    "identity": "persons found in a generated province",
    "publish": "a page of the results for docs/, with its plots",
    "profile": "another one of these, with a flame graph of our processes",
    "summary": "tables and plots of what lies in the folder of results, beside an earlier pass if one is named",
}


def main(arguments: list[str]) -> int:
    name, *rest = arguments if arguments and not arguments[0].startswith("-") else ["every", *arguments]
    # Servers are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if name not in (*COMMANDS, "every"):
        width = max(map(len, COMMANDS))
        print("python -m benchmarks [--quick], or one of these:", file=sys.stderr)
        print(*(f"  {each:{width}}  {what}" for each, what in COMMANDS.items()), sep="\n", file=sys.stderr)
        return 2
    return int(importlib.import_module(f"benchmarks.{name}").main(rest))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
