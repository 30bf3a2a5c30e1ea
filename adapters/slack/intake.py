"""Slack's events as Questions and Actions: pure translation, nothing is sent or fetched."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adapters.slack.richtext import Names, message_text, table_csv
from bot.commands import COMMANDS, Command, command_for_reaction, command_for_word
from bot.types import Action, Asker, Attachment, Place, Question, ThreadRef, turn_id

NAME = "slack"
QUESTIONS = (None, "file_share", "thread_broadcast")
"""The subtypes of a message that a person wrote just now."""

Json = Mapping[str, Any]


def handle(team: str, channel: str, ts: str) -> str:
    """The key of one message, in the form of `Question.keys` and `Receipt.handles`."""
    return f"{NAME}:{team}/{channel}/{ts}"


def thread_ref(team: str, channel: str, root: str) -> ThreadRef:
    """A conversation: everything under one root message."""
    return ThreadRef(NAME, f"{team}/{channel}", root)


def where(thread: ThreadRef) -> tuple[str, str, str]:
    """Team, channel and root of a reference made by `thread_ref`."""
    team, _, channel = thread.place.partition("/")
    return team, channel, thread.thread


@dataclass(frozen=True, slots=True)
class Us:
    """Who we are in this workspace (`auth.test`)."""

    team: str
    user: str
    bot: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands around an event (docs.slack.dev, "Events API": the outer event)."""

    team: str
    event_id: str
    shared: bool
    event: Json

    @classmethod
    def of(cls, body: Json, us: Us) -> "Envelope":
        """`team` is where the app is installed, not the sender's."""
        authorizations = body.get("authorizations") or [{}]
        team = authorizations[0].get("team_id") or body.get("team_id") or us.team
        return cls(str(team), str(body.get("event_id") or ""), bool(body.get("is_ext_shared_channel")), body.get("event") or {})

    @property
    def channel(self) -> str:
        """The channel of a message event."""
        return str(self.event.get("channel") or "")

    @property
    def direct(self) -> bool:
        """A direct message to us."""
        return self.event.get("channel_type") == "im" or self.channel.startswith("D")


def by_person(event: Json, us: Us) -> bool:
    """Whether a person wrote this, and not a bot, Slack or we ourselves (an echo may lack `bot_id`)."""
    user = event.get("user")
    return bool(user) and user not in (us.user, "USLACKBOT") and not event.get("bot_id") and not event.get("bot_profile")


def asker(event: Json, envelope: Envelope, names: Names) -> Asker:
    """Who wrote a message, as far as the event says: no call is made before a question is accepted."""
    user = str(event.get("user"))
    name = names(user)
    return Asker(user, name if name != user else "", external=home_team(event, envelope) != envelope.team)


def home_team(event: Json, envelope: Envelope) -> str:
    """The team of the person who wrote: theirs, not ours, in a channel shared between organisations."""
    return str(event.get("user_team") or event.get("source_team") or event.get("team") or envelope.team)


def question(envelope: Envelope, us: Us, names: Names, *, edit_of: str = "") -> Question:
    """The question in a message event. `edit_of`: the turn it is a new wording of."""
    event = envelope.event
    ts, channel = str(event["ts"]), envelope.channel
    key = handle(envelope.team, channel, ts)
    keys: tuple[str, ...] = (key,)
    if not edit_of:
        client = event.get("client_msg_id")
        keys += (f"{NAME}:event/{envelope.event_id}",) if envelope.event_id else ()
        keys += (f"{NAME}:client/{client}",) if client else ()
    return Question(
        id=edit_of or turn_id(key),
        keys=keys,
        thread=thread_ref(envelope.team, channel, str(event.get("thread_ts") or ts)),
        asker=asker(event, envelope, names),
        place=Place(envelope.team, channel, envelope.direct),
        text=message_text(event, us.user, names),
        attachments=tuple(attachments(event)),
        follows=edit_of or None,
    )


def attachments(event: Json) -> Iterator[Attachment]:
    """Files of the message, of forwarded messages in it, and pasted tables as CSV."""
    inner = event.get("attachments") or []
    seen: set[str] = set()
    for file in [*(event.get("files") or []), *(file for part in inner for file in part.get("files") or [])]:
        if file.get("id") in seen or file.get("mode") == "tombstone":
            continue
        seen.add(str(file.get("id")))
        yield _file(file)
    tables = [block for part in (event, *inner) for block in part.get("blocks") or [] if block.get("type") == "table"]
    for number, block in enumerate(tables, 1):
        text = table_csv(block)
        yield Attachment(
            f"pasted-table{f'-{number}' if len(tables) > 1 else ''}.csv", len(text.encode()), "text/csv", {"csv": text}
        )


def _file(file: Json) -> Attachment:
    locator = {"id": str(file.get("id") or "")}
    url = file.get("url_private_download") or file.get("url_private")
    if url and file.get("file_access") != "check_file_info":
        locator["url"] = str(url)
    name = str(file.get("name") or file.get("title") or file.get("id") or "file")
    return Attachment(name, int(file.get("size") or 0), str(file.get("mimetype") or "application/octet-stream"), locator)


# --- Everything but questions -----------------------------------------------------------------------------------------


def reaction(event: Json) -> Command | None:
    """The command that a reaction means; a skin tone does not change it."""
    return command_for_reaction(str(event.get("reaction") or "").partition("::")[0])


def button_action(body: Json, us: Us) -> Action | None:
    """A press of one of our buttons; None for any other (docs.slack.dev, "block_actions payload")."""
    pressed = (body.get("actions") or [{}])[0]
    prefix, _, name = str(pressed.get("action_id") or "").partition(".")
    container, user = body.get("container") or {}, body.get("user") or {}
    channel = str((body.get("channel") or {}).get("id") or container.get("channel_id") or "")
    if prefix != "cellmate" or name not in COMMANDS or not channel:
        return None
    team = str((body.get("team") or {}).get("id") or us.team)
    message = body.get("message") or {}
    root = container.get("thread_ts") or message.get("thread_ts") or container.get("message_ts") or message.get("ts")
    return Action(
        f"{NAME}:action/{pressed.get('action_ts') or body.get('trigger_id')}",
        name,
        thread_ref(team, channel, str(root)) if root else None,
        str(pressed.get("value") or "") or None,
        Asker(
            str(user.get("id")), str(user.get("name") or user.get("username") or ""), external=user.get("team_id", team) != team
        ),
        Place(team, channel, channel.startswith("D")),
    )


def slash_action(body: Json, us: Us) -> Action:
    """`/cellmate WORD`: carries no thread (docs.slack.dev, "Slash commands"); any other word asks for help."""
    team, channel = str(body.get("team_id") or us.team), str(body.get("channel_id") or "")
    command = command_for_word(str(body.get("text") or "")) or COMMANDS["help"]
    who = Asker(str(body.get("user_id")), str(body.get("user_name") or ""))
    return Action(
        f"{NAME}:slash/{body.get('trigger_id')}", command.name, None, None, who, Place(team, channel, channel.startswith("D"))
    )
