"""How the page names things for the core."""

from bot.types import Asker, Place, ThreadRef

NAME = "web"
PLACE = Place("local", "page", direct=True)
ASKER = Asker("local", "you")
"""Whoever holds the token is the one person there is."""


def reference(thread: str) -> ThreadRef:
    """The core's reference of a thread."""
    return ThreadRef(NAME, "page", thread)


def key(thread: str, message: str) -> str:
    """The handle of a question."""
    return f"{NAME}:{thread}:{message}"
