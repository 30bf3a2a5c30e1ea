"""The manifest from which a workspace's administrator makes the app (docs.slack.dev, "App manifest reference")."""

from typing import Any

from bot.commands import COMMANDS

SCOPES = (
    "app_mentions:read",
    "assistant:write",
    "channels:history",
    "channels:read",
    "chat:write",
    "commands",
    "files:read",
    "files:write",
    "groups:history",
    "groups:read",
    "im:history",
    "im:read",
    "im:write",
    "mpim:history",
    "mpim:read",
    "reactions:read",
    "reactions:write",
    "users:read",
)
EVENTS = (
    "agent_session_stopped",
    "app_mention",
    "message.channels",
    "message.groups",
    "message.im",
    "message.mpim",
    "reaction_added",
)


def manifest() -> dict[str, Any]:
    """The app's manifest as JSON values: Socket Mode, agent view, the scopes and events the adapter uses and no others."""
    slash = " | ".join(["help", "stop", *(c.name for c in COMMANDS.values() if c.slash and c.name != "help")])
    return {
        "_metadata": {"major_version": 1, "minor_version": 1},
        "display_information": {"name": "Cellmate", "description": "Runs Python for your team, in threads"},
        "features": {
            "agent_view": {
                "agent_description": "Attach data and ask: I run Python in a sandbox and post results, files and plots.",
                "suggested_prompts": [
                    {"title": "Summarise a CSV", "message": "Summarise the attached CSV and plot the trend"},
                ],
            },
            "app_home": {
                "home_tab_enabled": False,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "bot_user": {"display_name": "cellmate", "always_online": True},
            "slash_commands": [
                {
                    "command": "/cellmate",
                    "description": "What Cellmate can do",
                    "usage_hint": slash,
                    "should_escape": True,
                }
            ],
        },
        "oauth_config": {"scopes": {"bot": list(SCOPES)}},
        "settings": {
            "event_subscriptions": {"bot_events": list(EVENTS)},
            "interactivity": {"is_enabled": True},
            "org_deploy_enabled": False,
            "socket_mode_enabled": True,
            "token_rotation_enabled": False,
        },
    }
