"""Text that nobody chose to send: what a model or a program prints must not ping, unfurl or break out of its place.

Every string on its way out passes through one of these three: `markdown` for text a platform renders, `mrkdwn` for Slack's
own `text` fields, `line` for names, titles, button labels and alt text. All but `mrkdwn`, which escapes, are idempotent.
The platforms' own switches (Discord's allowed mentions, Slack's `parse` and `unfurl_*`) are set besides; this holds without.
"""

import re

ZERO_WIDTH = "\u200b"

# The control characters that a platform may drop, so that what stands around them would join into a mention; the bidirectional
# overrides, which make a file name read as another; halves of a surrogate pair, which no request can carry.
_DROPPED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
# <@U…> <@!1> <@&1> <!channel> <!subteam^…> <#C…> (Slack, Discord), and the same behind an HTML entity.
_ENTITY = re.compile(r"(<|&lt;|&#0*60;|&#x0*3c;)(?=[@!#])", re.IGNORECASE)
_EVERYONE = re.compile(r"@(?=(?:everyone|here|channel|group)\b)", re.IGNORECASE)
_IMAGE = re.compile(r"!(?=\[)")


def markdown(text: str) -> str:
    """Markdown in which nothing mentions anyone and no image is loaded; links stay, and code reads the same."""
    text = _DROPPED.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = _ENTITY.sub(rf"\1{ZERO_WIDTH}", text)
    text = _EVERYONE.sub(f"@{ZERO_WIDTH}", text)
    return _IMAGE.sub(f"!{ZERO_WIDTH}", text)


def mrkdwn(text: str) -> str:
    """The same for Slack's `text`: its three control characters are escaped (docs.slack.dev, "Formatting message text")."""
    return markdown(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def line(text: str, limit: int = 150) -> str:
    """One line of at most `limit` characters for a place that renders no markup; never empty."""
    flat = " ".join(markdown(text).split()) or "-"
    if len(flat) <= limit:
        return flat
    size = limit - 1
    while len(cut := markdown(flat[:size])) > limit - 1:  # the end of a word may become what pings: "@hereby" cut to "@here"
        size -= 1
    return cut + "…"
