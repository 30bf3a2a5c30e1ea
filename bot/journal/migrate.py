"""Bring a journal's tables up to date with Alembic, from the steps in `migrations/`; its package is loaded only for that.

Alembic's own `env.py` is left out: it would be read from disk on the event loop. The steps are loaded before, in a thread.
"""

from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

_LOCK = 0x63656C6C6D617465
"""Any number that others do not use for an advisory lock in the same database: "cellmate" in ASCII."""


class NewerJournal(Exception):
    """The journal has taken a step that this program does not know."""


def load_steps() -> ScriptDirectory:
    """Read every step. Blocking."""
    steps = ScriptDirectory(str(Path(__file__).parent / "migrations"))
    for _ in steps.walk_revisions():
        pass
    return steps


def migrate(connection: Connection, steps: ScriptDirectory) -> None:
    """Take the steps that are missing, within the connection's transaction. Two programs that do it at once take turns.

    Raises `NewerJournal`.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})

    def missing(revision: Any, _context: object) -> Any:
        return steps._upgrade_revs("head", revision)

    with EnvironmentContext(Config(), steps, fn=missing) as environment:
        environment.configure(connection=connection)
        try:
            environment.run_migrations()
        except CommandError as problem:
            raise NewerJournal(str(problem)) from problem
