"""The sentences every platform says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from adapters.shared import words
from bot.text import fence
from bot.types import Blob, Card, CardFile, CellError, Progress, Step, Table

MARKDOWN = MarkdownIt("commonmark").enable("table")


@pytest.mark.parametrize(
    ("count", "said"),
    [
        *[(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1 kB"), (1500, "1.5 kB"), (9_960, "10 kB")],
        *[(999_499, "999 kB"), (999_500, "1 MB"), (20_000_000, "20 MB"), (5_300_000_000, "5.3 GB"), (2 * 10**12, "2,000 GB")],
    ],
)
def test_sizes(count: int, said: str) -> None:
    assert words.size(count) == said


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (59.9, "59 s"), (125, "2 min 5 s"), (3840, "1 h 4 min")])
def test_durations(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


def test_the_state_in_a_line() -> None:
    step = Step("x", progress=Progress(0.5, 125.0, "Loading"))
    assert words.state_line(Card("t", 1, "queued", ahead=2)) == "In line, 2 before you"
    assert words.state_line(Card("t", 1, "queued")) == "In line, next"
    assert words.state_line(Card("t", 1, "working", elapsed=3)) == "Working… 3 s"
    assert (
        words.state_line(Card("t", 1, "working", steps=(step, step), elapsed=3))
        == "Working… step 2 · 3 s · 50%, 2 min 5 s left"
    )
    assert words.state_line(Card("t", 1, "done", text="x")) == ""


def test_progress_in_a_line() -> None:
    assert words.bar(Progress(0.456, 125.0, "Loading")) == "Loading ▰▰▰▰▱▱▱▱▱▱ 46%, 2 min 5 s left"
    assert words.bar(Progress(0.0)) == "▱▱▱▱▱▱▱▱▱▱ 0%"
    working = words.working(Card("t", 1, "working", steps=(Step("x", progress=Progress(0.5)),)))
    assert "▰▰▰▰▰▱▱▱▱▱ 50%" in working


@given(st.text(alphabet="`ab\n ", max_size=60))
def test_nothing_gets_out_of_a_fence(text: str) -> None:
    block, *rest = MARKDOWN.parse(fence(text, "python"))
    assert (block.type, block.info, rest) == ("fence", "python", [])
    assert block.content.rstrip("\n") == text.rstrip("\n")


@given(st.text(alphabet="ab\n", max_size=200), st.integers(10, 100))
def test_head_and_tail_keep_to_their_limit(text: str, limit: int) -> None:
    head, tail = words.head(text, limit), words.tail(text, limit)
    assert len(head) <= limit and len(tail) <= limit
    if len(text) <= limit:
        assert head == tail == text
    else:
        assert text.startswith(head.removesuffix("\n…")) and text.endswith(tail.removeprefix("…\n"))


def test_a_step_is_named_by_its_comment_else_by_its_first_line() -> None:
    assert words.step_title(Step("\n# Load the file\nx = 1")) == "Load the file"
    assert words.step_title(Step("x = 1\n# no")) == "x = 1"
    assert words.step_title(Step("#\n")) == "Python" == words.step_title(Step(""))
    assert len(words.step_title(Step("x" * 500))) == 100


def test_an_outcome_frames_the_error_of_the_code() -> None:
    step = Step(
        "1/0", "failed", stdout="before\n", stderr="warning\n", error=CellError("ZeroDivisionError", "division by zero")
    )
    assert words.outcome(step) == (
        "```\nbefore\nwarning\n```\n\nThe code stopped with an error:\n```\nZeroDivisionError: division by zero\n```"
    )
    assert words.outcome(Step("x = 1", "ok")) == ""


def test_an_answer_is_never_empty_and_names_what_was_lost() -> None:
    assert words.answer(Card("t", 1, "done")) == "Done."
    assert words.answer(Card("t", 1, "stopped")) == "Stopped."
    assert (
        words.answer(Card("t", 1, "failed", notes=("One.", "Two\nlines.")))
        == "This could not be finished.\n\n*One.*\n\n*Two lines.*"
    )


def test_a_table_is_one_whatever_its_cells_hold() -> None:
    text = words.table(Table(("a|b", "c\\"), (("1\n2", ""), ("`|`", "x")), 9))
    kinds = [token.type for token in MARKDOWN.parse(text)]
    assert (kinds.count("tr_open"), kinds.count("th_open"), kinds.count("td_open")) == (3, 2, 4)
    assert text.endswith("*First 2 of 9 rows.*")


def test_what_could_not_be_posted_is_named_with_its_size_and_reason() -> None:
    file = CardFile("a/b.csv", "text/csv", Blob("0", 1500))
    assert words.not_delivered(file, "it is too large.") == "a/b.csv (1.5 kB) could not be posted here: it is too large."
