"""What a failed call to a Chat Completions server means, and what a person can do about it. Pure.

The sentences hold nothing that came from the server: some repeat the key, or what was asked.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

import openai


class Kind(Enum):
    """What to do next."""

    RETRY = "it may work in a moment"
    NO_TOOLS = "the server does not know tools"
    TOO_LONG = "the conversation does not fit the model"
    FINAL = "trying again cannot help"


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt. `sentence` is for the person, should it be the last; `after`: seconds the server wants us to wait."""

    kind: Kind
    sentence: str
    after: float | None = None


_AGAIN = "Ask again in a minute; if that does not help, tell the administrator."
CUT = Failure(Kind.RETRY, f"The language model's answer was cut off on its way, several times. {_AGAIN}")
EMPTY = Failure(Kind.FINAL, "The language model gave an empty answer, twice. Ask again, perhaps in other words.")
_UNREACHABLE = Failure(
    Kind.RETRY, f"The language model cannot be reached. {_AGAIN} (Its address is the setting OPENAI_BASE_URL.)"
)
_SLOW = Failure(Kind.RETRY, f"The language model did not answer in time. {_AGAIN}")
_BUSY = "The language model is busy: it is asked too much. Ask again in {}."
_NO_TOOLS = re.compile(
    r"(n.t|not|un|no endpoints[^.]{0,30}) ?support[^.]{0,60}\b(tool|function)"
    r"|\b(tools?|functions?|tool_choice|function calling)\b[^.]{0,80}"
    r"(not (supported|support|enabled|available|permitted|allowed)|unsupported|n't support|requires? --)"
    r"|requires? --enable-auto-tool-choice"
    r"|(unrecognized|unknown|unexpected|extra|unsupported)[^.]{0,80}\btools?\b",
    re.IGNORECASE | re.DOTALL,
)
_TOO_LONG = re.compile(
    r"context.?(length|window|size)|maximum context|too (long|many tokens)|exceeds? the available context|prompt is too"
    r"|string_above_max_length|request too large",
    re.IGNORECASE,
)


def of(problem: openai.APIError | ValueError, model: str, *, begun: bool) -> Failure:
    """What `problem` means. `model` is the name asked for; `begun`: some of the answer had come already."""
    match problem:
        case openai.APITimeoutError():
            return _SLOW
        case openai.APIConnectionError():
            return CUT if begun else _UNREACHABLE
        case openai.APIStatusError():
            return _status(problem, model)
        case openai.APIError():
            # An error that came inside a stream has no status of its own.
            return _too_long() if _TOO_LONG.search(f"{problem.code} {problem.message}") else CUT
    return CUT


def _status(problem: openai.APIStatusError, model: str) -> Failure:
    status, said = problem.status_code, f"{problem.code} {problem.message}"
    if status in (400, 404, 405, 422, 500, 501) and _NO_TOOLS.search(said):
        return Failure(
            Kind.NO_TOOLS, "The language model's server does not know tools: the administrator sets CELLMATE_MODEL_MODE=fenced."
        )
    if status in (400, 413, 422, 500) and _TOO_LONG.search(said):
        return _too_long()
    if status == 429 and problem.code == "insufficient_quota":
        return Failure(
            Kind.FINAL,
            "The quota of the language model's account is used up: the administrator checks the plan behind OPENAI_API_KEY.",
        )
    if status in (408, 409, 425, 429) or status >= 500:
        after = retry_after(problem.response.headers)
        if status == 429:
            return Failure(Kind.RETRY, _BUSY.format(_minutes(after)), after)
        return Failure(Kind.RETRY, f"The language model's server has a problem of its own ({status}). {_AGAIN}", after)
    return Failure(Kind.FINAL, _refused(status, model))


def _refused(status: int, model: str) -> str:
    match status:
        case 401:
            return "The language model's server does not accept the key: the administrator checks OPENAI_API_KEY."
        case 403:
            return f"The key may not use the model {model}: the administrator checks OPENAI_API_KEY and CELLMATE_MODEL_NAME."
        case 404:
            return f"There is no model {model} at the server: the administrator checks CELLMATE_MODEL_NAME and OPENAI_BASE_URL."
    return f"The language model's server refused the request ({status}). Tell the administrator; the log has the details."


def _too_long() -> Failure:
    return Failure(
        Kind.TOO_LONG,
        "This is more than the language model can read at once. Ask in a new thread, or send less text in the message.",
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by `retry-after-ms` or `Retry-After` (RFC 9110 §10.2.3: seconds or a date); None without either."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    try:
        at = parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _minutes(seconds: float | None) -> str:
    if seconds is None or seconds <= 60:
        return "a minute"
    return f"{seconds / 60:.0f} minutes"
