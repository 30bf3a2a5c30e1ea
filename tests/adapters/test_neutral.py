"""Nothing printed can ping, whatever stands around it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.shared import neutral

PIECES = st.sampled_from(
    [
        *("<@U0BOB>", "<@!123>", "<@&123>", "<#C1>", "<!channel>", "<!here|here>", "<!subteam^S1>", "@everyone", "@here"),
        *(
            "<",
            "@",
            "!",
            "&lt;",
            "&#60;",
            "&#x3c;",
            "&",
            "every",
            "one",
            "here",
            "\u200b",
            "\u202e",
            "\x00",
            "\ud800",
            "\r",
            "\n",
            " ",
        ),
        *("![", "](", ")", "http://x.example/", "`", "```", "a"),
    ]
)
LIVE = re.compile(r"(<|&lt;|&#60;|&#x3c;)[@!#]|@(everyone|here|channel)\b|!\[", re.IGNORECASE)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


@given(TEXTS)
def test_markdown_mentions_nobody_loads_nothing_and_is_idempotent(text: str) -> None:
    once = neutral.markdown(text)
    assert not LIVE.search(once)
    assert not set(once) & set("\x00\r\u202e\ud800")
    assert neutral.markdown(once) == once


@given(TEXTS)
def test_markdown_reads_as_it_did(text: str) -> None:
    def read(given: str) -> str:
        return re.sub("[\u200b\u202e\x00\ud800]", "", given.replace("\r\n", "\n").replace("\r", "\n"))

    assert read(neutral.markdown(text)) == read(text)


@given(TEXTS)
def test_mrkdwn_has_none_of_slacks_control_characters(text: str) -> None:
    safe = neutral.mrkdwn(text)
    assert "<" not in safe and ">" not in safe
    assert not re.search(r"&(?!amp;|lt;|gt;)", safe)


@given(TEXTS, st.integers(2, 60))
def test_a_line_is_one_line_within_its_limit(text: str, limit: int) -> None:
    line = neutral.line(text, limit)
    assert 1 <= len(line) <= limit and not LIVE.search(line)
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("text", ["a < b", "x @ y", "me@example.org", "a[0] != b[1]", "[a link](https://example.org)", "#1"])
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert neutral.markdown(text) == text
