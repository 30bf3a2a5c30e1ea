"""The page: a chat platform of Cellmate's own, for one person's browser on the machine where it runs.

It listens on 127.0.0.1 only. Being its own platform it keeps its threads itself, in `CELLMATE_HOME/web`; bytes stay in the
files store and are served from there.
"""

from typing import TYPE_CHECKING

from adapters.shared.late import late
from adapters.web.names import NAME
from adapters.web.settings import Settings

if TYPE_CHECKING:
    from adapters.web.page import connect

__all__ = ["NAME", "Settings", "connect"]

__getattr__ = late(__name__, {"connect": "page"})
