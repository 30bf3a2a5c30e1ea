"""Who may do what where, judged before any download and before anything is recorded as taken; and what code may reach there."""

import re
from collections.abc import Sequence

from bot.errors import ConfigError
from bot.types import Admission, Asker, Place, ThreadRef
from sandbox import Egress

PACKAGES = "pypi"
"""Stands for the package indexes of this machine's pip."""
_EXAMPLE = "slack/T0123/C0456 = pypi data.example.org"


def admit(asker: Asker, place: Place, action: str) -> Admission:
    """Judge one person's question ("ask") or action (a command's name) in one place.

    Bots are never admitted: two of them would talk for ever. Everybody else is, also where a platform cannot say who
    somebody is, until an operator can write rules.
    """
    if asker.bot:
        return Admission(False, "I answer people only, not other bots.")
    return Admission(True)


class Reach:
    """What the code of which threads may reach: `CELLMATE_EGRESS`, read. Of a place's rules the narrowest alone counts."""

    def __init__(self, text: str, indexes: tuple[str, ...] = ()) -> None:
        """`text`: "PLACE = HOST HOST; PLACE = ...", where a place is "*", "slack", "slack/T0123" or "slack/T0123/C0456";
        `indexes`: what `pypi` stands for. Raises `ConfigError`.
        """
        self.rules = dict(_rule(part, indexes) for part in re.split(r"[;\n]", text) if part.strip())

    def __call__(self, thread: ThreadRef) -> Egress:
        """What this thread's code may reach."""
        place = f"{thread.chat}/{thread.place}"
        while place not in self.rules and "/" in place:
            place = place.rpartition("/")[0]
        return self.rules.get(place) or self.rules.get("*") or Egress()


def wants_packages(text: str) -> bool:
    """Whether a rule names `pypi`."""
    return re.search(rf"[=\s]{PACKAGES}(?=[\s;]|$)", text) is not None


def _rule(text: str, indexes: tuple[str, ...]) -> tuple[str, Egress]:
    place, equals, hosts = (part.strip() for part in text.partition("="))
    if not equals or not re.fullmatch(r"\*|[^\s/]+(?:/[^\s/]+)*", place):
        raise ConfigError(f"CELLMATE_EGRESS: {text.strip()!r} is no rule. One looks like this: {_EXAMPLE}")
    named = hosts.split()
    if PACKAGES in named and not indexes:
        raise ConfigError("CELLMATE_EGRESS: pypi, but this machine's pip is set to no index that is reached by HTTP.")
    try:
        return place, Egress(tuple(host for host in named if host != PACKAGES), indexes if PACKAGES in named else ())
    except ValueError as problem:
        raise ConfigError(f"CELLMATE_EGRESS: {problem}.") from None


def told(egress: Egress) -> str:
    """What people and the model are told of a thread's way out; empty where there is none."""
    ways = [f"it can reach these hosts, by https only: {_listed(egress.hosts)}"] if egress.hosts else []
    if egress.indexes:
        ways.append("`!pip install NAME`, in a line of its own, installs Python packages that are missing")
    return f"In this channel code has a network: {'; '.join(ways)}." if ways else ""


def _listed(hosts: Sequence[str]) -> str:
    return "every public one" if "*" in hosts else ", ".join(hosts)
