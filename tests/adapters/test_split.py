import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.shared.split import split

FENCE = re.compile(r"[ \t]*(`{3,})([^`]*)")

words = st.text("abcäß漢😀.,*_#|", min_size=1, max_size=20)
lines = st.lists(words, max_size=6).map(" ".join)
prose = st.lists(lines, min_size=1, max_size=6).map("\n".join)
code_lines = st.lists(st.tuples(st.sampled_from(["", "    ", "\t"]), lines).map("".join), min_size=1, max_size=10)
languages = st.sampled_from(["", "python", "c++", "text title=a-name.txt"])


@st.composite
def code(draw: st.DrawFn) -> str:
    ticks = draw(st.sampled_from(["```", "````"]))
    body = draw(code_lines.filter(lambda body: any(line.strip() for line in body)))
    return "\n".join([ticks + draw(languages), *body, ticks])


documents = st.lists(st.one_of(prose, code()), min_size=1, max_size=6).map("\n".join)
limits = st.integers(100, 400)


def fences(text: str) -> tuple[list[tuple[bool, str]], str | None]:
    """Every line but the fences' own, with whether it lies in a fence; and the ticks of a fence left open."""
    inside: str | None = None
    found = []
    for line in text.split("\n"):
        if inside is None and (match := FENCE.fullmatch(line)):
            inside = match[1]
        elif inside is not None and line.strip().startswith(inside) and not line.strip().strip("`"):
            inside = None
        else:
            found.append((inside is not None, line))
    return found, inside


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", "".join(line for _, line in fences(text)[0]))


@given(documents, limits)
def test_every_part_fits(text: str, limit: int) -> None:
    assert all(0 < len(part) <= limit for part in split(text, limit))


@given(documents, limits)
def test_other_measures_are_respected(text: str, limit: int) -> None:
    def measure(part: str) -> int:
        return len(part.encode("utf-16-le")) // 2

    assert all(measure(part) <= limit for part in split(text, limit, measure))


@given(documents, limits)
def test_fences_are_balanced_in_every_part(text: str, limit: int) -> None:
    assert [fences(part)[1] for part in split(text, limit)] == [None] * len(split(text, limit))


@given(documents, limits)
def test_no_part_is_blank_or_an_empty_fence(text: str, limit: int) -> None:
    assert all(squeezed(part) for part in split(text, limit)) or not squeezed(text)


@given(documents, limits)
def test_nothing_but_white_space_is_lost_and_order_is_kept(text: str, limit: int) -> None:
    assert "".join(map(squeezed, split(text, limit))) == squeezed(text)


@given(st.lists(st.text("ab \t", max_size=15).filter(str.strip), min_size=1, max_size=60), limits)
def test_lines_of_code_keep_their_indentation(body: list[str], limit: int) -> None:
    parts = split("\n".join(["```py", *body, "```"]), limit)
    assert [line for part in parts for _, line in fences(part)[0]] == body
    assert all(part.startswith("```py\n") and part.endswith("\n```") for part in parts)


@given(st.text(max_size=300), limits)
def test_any_text_at_all_fits_and_keeps_its_characters(text: str, limit: int) -> None:
    parts = split(text, limit)
    assert all(len(part) <= limit for part in parts)
    if "```" not in text:
        assert re.sub(r"\s", "", "".join(parts)) == re.sub(r"\s", "", text)


@given(st.text("a`\n ", max_size=200), limits)
def test_backticks_in_any_shape_stay_within_the_limit(text: str, limit: int) -> None:
    assert all(len(part) <= limit for part in split(text, limit))


def test_text_that_fits_stays_as_it_is() -> None:
    assert split("One *line*.\n\n```py\nx = 1\n```", 100) == ["One *line*.\n\n```py\nx = 1\n```"]


def test_paragraphs_come_before_lines_before_spaces() -> None:
    text = "a" * 30 + "\n\n" + "b" * 15 + "\n" + "c" * 40 + " " + "d" * 30
    assert split(text, 50) == ["a" * 30, "b" * 15, "c" * 40, "d" * 30]


def test_a_word_longer_than_a_part_is_cut_anywhere() -> None:
    assert split("x" * 100, 40) == ["x" * 40, "x" * 40, "x" * 20]


def test_a_fence_is_opened_again_with_its_language_and_closed_with_its_ticks() -> None:
    first, *_, last = split("````python\n" + "print(1)\n" * 20 + "````", 60)
    assert first.startswith("````python\nprint(1)") and first.endswith("print(1)\n````")
    assert last.startswith("````python\nprint(1)") and last.endswith("print(1)\n````")


def test_a_long_info_string_is_not_repeated() -> None:
    parts = split("```python title=very-long-name-of-a-file.py\n" + "print(1)\n" * 40 + "```", 200)
    assert parts[0].startswith("```python title") and parts[1].startswith("```\nprint")


def test_an_info_string_as_long_as_a_part_becomes_the_first_line() -> None:
    assert split("```" + "word " * 20 + "\nx\n```", 60)[0] == "```\n" + "word " * 9 + "word\n```"


def test_a_part_never_ends_with_a_fence_just_opened() -> None:
    parts = split("a" * 38 + "\n```py\n" + "b" * 30 + "\n```", 50)
    assert parts == ["a" * 38, "```py\n" + "b" * 30 + "\n```"]


def test_a_fence_left_open_is_closed() -> None:
    assert split("```py\nx = 1", 100) == ["```py\nx = 1\n```"]


def test_a_line_of_other_ticks_does_not_close_a_fence() -> None:
    assert split("````\n```\nx\n````", 100) == ["````\n```\nx\n````"]


@pytest.mark.parametrize("text", ["", " \n\t\n"])
def test_blank_text_has_no_parts(text: str) -> None:
    assert split(text, 100) == []


def test_a_limit_without_room_for_fences_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves no room"):
        split("text", 20)


def test_a_large_text_of_short_lines_is_split_whole() -> None:
    text = "x\n" * 60_000
    assert "".join(split(text, 1900)).replace("\n", "") == "x" * 60_000
