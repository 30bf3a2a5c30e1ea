"""Slack, over Socket Mode. `connect` gives the `bot.ports.Chat`; from `manifest` an administrator makes the app."""

from typing import TYPE_CHECKING

from adapters.shared.late import late
from adapters.slack.intake import NAME
from adapters.slack.settings import Settings

if TYPE_CHECKING:
    from adapters.slack.checkup import check
    from adapters.slack.stream import Pace
    from adapters.slack.workspace import Slack, connect

__all__ = ["NAME", "Pace", "Settings", "Slack", "check", "connect"]

__getattr__ = late(__name__, {"Pace": "stream", "Slack": "workspace", "check": "checkup", "connect": "workspace"})
