"""Cards as Slack's blocks and stream chunks, every string neutral and within its limit
(docs.slack.dev, "Block Kit", "Markdown block", "chat.startStream")."""

from typing import Any

from adapters.shared import neutral, words
from adapters.shared.split import split
from bot.commands import COMMANDS
from bot.text import fence
from bot.types import Card, Progress, Step, Table

MESSAGE = 8_000
"""UTF-8 bytes of one message's text: under a stream's cap of about 10.6 kB and a payload's 12,000 characters of Markdown."""
_TABLE = 3_000
_TASK = 200
_TASK_STATES = {"running": "in_progress", "ok": "complete", "failed": "error", "stopped": "error"}

Json = dict[str, Any]


def weight(text: str) -> int:
    """What a text takes of `MESSAGE`, in the longer of its two forms."""
    return len(neutral.mrkdwn(text).encode())


def markdown(text: str) -> Json:
    """A block of Markdown."""
    return {"type": "markdown", "text": neutral.markdown(text)}


def parts(text: str) -> list[str]:
    """A text as messages in order."""
    return split(text, MESSAGE, weight)


def table(data: Table) -> str:
    """As many rows as a message bears, at least the first."""
    rows = words.ROWS
    while rows > 1 and weight(text := words.table(data, rows)) > _TABLE:
        rows //= 2
    text = words.table(data, rows)
    return text if weight(text) <= _TABLE else fence(words.head(text, _TABLE // 3))


def ending(card: Card, *, with_table: bool = True) -> list[Json]:
    """What stands under a final answer: its table, footer, buttons."""
    blocks = [markdown(table(card.table))] if card.table and with_table else []
    if card.footer:
        text = neutral.mrkdwn(neutral.line(card.footer, 300))
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": text}]})
    return [*blocks, *buttons(card)]


def buttons(card: Card) -> list[Json]:
    """A row of the commands that make sense now; none when there are none."""
    elements = [
        {
            "type": "button",
            "action_id": f"cellmate.{name}",
            "value": card.turn,
            "text": {"type": "plain_text", "text": COMMANDS[name].label},
            **({"style": "danger"} if name == "stop" else {}),
        }
        for name in card.actions
    ]
    return [{"type": "actions", "elements": elements}] if elements else []


def metadata(card: Card, **more: Any) -> Json:
    """By which a message is known as a turn's after a restart."""
    return {"event_type": "cellmate_turn", "event_payload": {"turn": card.turn, **more}}


def tasks(card: Card) -> list[Json]:
    """A stream's task cards: the turn's own first, then one a step. Their ids hold the turn's."""
    match card.state:
        case "queued" | "waiting":
            own, title = "pending", words.state_line(card)
        case "working":
            own, title = "in_progress", card.waits or "Working…"
        case "done":
            own, title = "complete", f"Done in {words.duration(card.elapsed)}" if card.elapsed >= 1 else "Done"
        case "stopped":
            own, title = "error", "Stopped"
        case _:
            own, title = "error", "Not finished"
    steps = [_task(f"{card.turn}-{number}", step) for number, step in enumerate(card.steps, 1)]
    return [{"type": "task_update", "id": f"{card.turn}-0", "title": title, "status": own}, *steps]


def _task(id: str, step: Step) -> Json:
    done = f" · {_roughly(step.progress)}" if step.progress else ""
    chunk: Json = {
        "type": "task_update",
        "id": id,
        "title": neutral.line(words.step_title(step)) + done,
        "status": _TASK_STATES[step.state],
    }
    if step.state != "running":
        shown = step.error.message if step.error else (step.result or step.stdout.strip() or step.stderr.strip())
        if shown:
            chunk["output"] = neutral.line(shown, _TASK)
    return chunk


def _roughly(done: Progress) -> str:
    """Progress in few and large steps: every change is an append, and a streamed message bears only so many."""
    minutes = "" if done.eta is None else f", {done.eta // 60:.0f} min left" if done.eta >= 60 else ", under a minute left"
    return f"{int(done.fraction * 10) * 10}%{minutes}"


def working(card: Card) -> tuple[str, list[Json]]:
    """Notification text and blocks of the message that is edited while a turn works."""
    return words.state_line(card), [markdown(words.working(card)), *buttons(card)]
