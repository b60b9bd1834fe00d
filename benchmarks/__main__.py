"""``python -m benchmarks [NAME]``: measure; without a name ``receive``. Each says with ``--help`` what it does."""

from __future__ import annotations

import sys

from benchmarks import access, audit, figures, frames, identity, memory, metadata, query, receive, viewer

COMMANDS = {
    "access": access.main,
    "audit": audit.main,
    "receive": receive.main,
    "memory": memory.main,
    "figures": figures.main,
    "frames": frames.main,
    "identity": identity.main,
    "metadata": metadata.main,
    "query": query.main,
    "viewer": viewer.main,
}


def main(arguments: list[str]) -> int:
    name, *rest = arguments or ["receive"]
    if name not in COMMANDS:
        print(f"python -m benchmarks {' | '.join(COMMANDS)}", file=sys.stderr)
        return 2
    return COMMANDS[name](rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
