"""What a failed transaction means, in a sentence for the person whose question it was."""

import errno

from sqlalchemy.exc import DBAPIError

_FULL = "my disk is full, so I cannot take this. Ask the administrator to free some space, then ask me again."
_READ_ONLY = "my journal cannot be written (it is read-only). Ask the administrator to make it writable, then ask me again."
_BUSY = "another program is holding my journal. Ask me again in a minute."
_AWAY = "my journal's database cannot be reached. Ask me again in a minute; if that does not help, tell the administrator."


def sentence(problem: Exception) -> str:
    """One sentence, by SQLite's primary result code (sqlite.org/rescode.html), PostgreSQL's SQLSTATE (its manual, appendix A)
    or errno. Holds no SQL and no values."""
    return "I could not write this down: " + _reason(problem)


def _reason(problem: Exception) -> str:
    orig: BaseException = problem.orig if isinstance(problem, DBAPIError) and problem.orig is not None else problem
    code = str(getattr(orig, "sqlite_errorname", None) or getattr(orig, "sqlstate", None) or "")
    number = orig.errno if isinstance(orig, OSError) else None
    if code.startswith("SQLITE_FULL") or code == "53100" or number in (errno.ENOSPC, errno.EDQUOT):
        return _FULL
    if code.startswith("SQLITE_READONLY") or code == "25006" or number == errno.EROFS:
        return _READ_ONLY
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or code == "55P03":
        return _BUSY
    if code.startswith(("08", "57P")) or isinstance(orig, OSError) or getattr(problem, "connection_invalidated", False):
        return _AWAY
    return f"my journal failed ({code or type(orig).__name__}). Tell the administrator; the log has the details."
