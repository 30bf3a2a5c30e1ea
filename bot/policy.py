"""Who may do what where. Judged before any download and before anything is recorded as taken."""

from bot.types import Admission, Asker, Place


def admit(asker: Asker, place: Place, action: str) -> Admission:
    """Judge one person's question ("ask") or action (a command's name) in one place.

    Bots are never admitted: two of them would talk for ever. Everybody else is, also where a platform cannot say who
    somebody is, until an operator can write rules.
    """
    if asker.bot:
        return Admission(False, "I answer people only, not other bots.")
    return Admission(True)
