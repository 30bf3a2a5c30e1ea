"""The one table of commands. Every platform's buttons, menus, reactions and words are made from it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Command:
    """A thing people can do besides asking."""

    name: str
    label: str
    """On a button."""
    help: str
    """One line in the help, starting with a verb."""
    who: Literal["anyone", "asker"]
    """`asker`: whoever asked the turn it is about, or an administrator of the place."""
    words: tuple[str, ...] = ()
    """A whole message in a thread (case and a final full stop aside) that means it."""
    reactions: tuple[str, ...] = ()
    """Emoji, by Slack's short name."""
    slash: bool = False
    """Offered as a slash command where the platform has them."""
    argument: str = ""
    """What its value means; empty when it takes none."""


COMMANDS: dict[str, Command] = {
    c.name: c
    for c in (
        Command(
            "stop",
            "Stop",
            "Stop what is running or waiting in this thread",
            who="anyone",
            words=("stop", "cancel", "halt", "abort"),
            reactions=("octagonal_sign", "x", "no_entry"),
        ),
        Command("code", "Show code", "Show the code of an answer", who="anyone"),
        Command(
            "files",
            "Files",
            "List the files and variables of this thread",
            who="anyone",
            words=("files", "/files"),
        ),
        Command(
            "reset",
            "Start afresh",
            "Forget this thread's files and variables",
            who="asker",
            words=("reset", "/reset"),
        ),
        Command("help", "Help", "Say what Cellmate can do", who="anyone", words=("help", "/help"), slash=True),
    )
}


def command_for_word(text: str) -> Command | None:
    """The command a whole message means, if it means one: exact, so that a sentence with "stop" in it is a question."""
    word = text.strip().rstrip(".!").lower()
    return next((c for c in COMMANDS.values() if word in c.words), None)


def command_for_reaction(name: str) -> Command | None:
    """The command a reaction means (Slack's short name, without colons or skin tone)."""
    return next((c for c in COMMANDS.values() if name in c.reactions), None)
