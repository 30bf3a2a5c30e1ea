"""Discord: a mention, a reply, a direct message or a post becomes a question; its answer is a thread.

Only an outgoing connection is needed (Gateway and REST, API version 10). The message-content intent is optional: without it
mentions, replies and direct messages still work, and following a thread without a mention does not.
"""

from typing import TYPE_CHECKING

from adapters.discord.settings import NAME, Settings
from adapters.shared.late import late

if TYPE_CHECKING:
    from adapters.discord.login import check, connect, invite_url

__all__ = ["NAME", "Settings", "check", "connect", "invite_url"]

__getattr__ = late(__name__, {"check": "login", "connect": "login", "invite_url": "login"})
