"""How Discord's ids become Cellmate's references, keys and button ids, and back."""

import hashlib
import re

from bot.types import ThreadRef

NAME = "discord"
DIRECT = "@me"
"""Stands for the server in a direct message's place, as in Discord's own links."""

_BUTTON = re.compile(r"cm:(?P<command>[a-z]+):(?P<turn>[a-z0-9-]{1,60})")


def key(channel: int | str, message: int | str) -> str:
    """A message's key: `Question.keys`, `Receipt.handles`."""
    return f"{NAME}:{channel}:{message}"


def message_id(handle: str) -> int:
    """The message that a key names."""
    return int(handle.rsplit(":", 1)[1])


def thread_ref(guild: int | None, channel: int, thread: int) -> ThreadRef:
    """`channel` is the thread's parent; `thread` the thread, or the message from which one is or may be made."""
    return ThreadRef(NAME, f"{guild or DIRECT}/{channel}", str(thread))


def button_id(command: str, turn: str) -> str:
    """A button's `custom_id`, at most 100 characters; it says all there is to know, so it works after any restart."""
    return f"cm:{command}:{turn}"


def read_button_id(custom_id: str) -> tuple[str, str] | None:
    """The command and the turn of a button of ours."""
    match = _BUTTON.fullmatch(custom_id)
    return (match["command"], match["turn"]) if match else None


def nonce(turn: str, part: str) -> str:
    """At most 25 characters, the same for the same part of the same turn: Discord answers a second send of it, for some
    minutes, with the message that the first one made ("Create Message", `enforce_nonce`)."""
    return hashlib.sha1(f"{turn}/{part}".encode(), usedforsecurity=False).hexdigest()[:24]
