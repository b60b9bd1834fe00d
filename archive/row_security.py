"""The second wall: statements for callers who see less than all run as a role whose rows PostgreSQL itself picks.

`archive.access` puts the predicate into every statement. Should one ever forget it, the policies of the migration
``row_security`` still let through only what the caller may see: they ask for the context, which is set on a connection
whenever its caller changes. A connection without one sees nothing. The predicate makes statements fast; the policies
make mistakes harmless.

Internal work, and callers who see the whole province, keep the role that owns the tables: nothing is to be held back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

ROLE: Final = "pacs_reader"
_KEY: Final = "pacs context"
SET: Final = """
SELECT set_config('pacs.facilities', %(facilities)s, false), set_config('pacs.account', %(account)s, false),
       set_config('pacs.link', %(link)s, false), set_config('pacs.copying', %(copying)s, false),
       set_config('plan_cache_mode', %(plans)s, false)
"""


class Context(NamedTuple):
    """Who asks, as the policies understand it."""

    facilities: tuple[int, ...]
    """Rows of ``facility``."""
    account: int | None
    link: int | None
    copying: bool
    planned: bool = False
    """The statement has one good plan, whatever its values. With the policies, to plan takes PostgreSQL ten times as
    long as to look an instance up, and left to itself it would plan each time anew.
    """

    def values(self) -> dict[str, str]:
        """What the settings of the connection are to be; nobody is an empty text."""
        return {
            "facilities": "{" + ",".join(map(str, self.facilities)) + "}",
            "account": "" if self.account is None else str(self.account),
            "link": "" if self.link is None else str(self.link),
            "copying": "on" if self.copying else "off",
            "plans": "force_generic_plan" if self.planned else "auto",
        }


def enter(info: dict[Any, Any], context: Context, run: Callable[[str, dict[str, str]], object]) -> None:
    """Set the context on a connection unless it has it. `info` lives as long as the connection to the server does.

    Should setting it fail half way, nothing is noted, and the next caller sets it anew.
    """
    if info.get(_KEY) != context:
        info.pop(_KEY, None)
        run(SET, context.values())
        info[_KEY] = context
