"""Cleaning and bounding text: pure functions, any input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.runner.text import Cleaner, Transcript, clean, human, progress, safe_name, shorten

_BAD = set(
    map(
        chr,
        [*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)],
    )
)


def _feed(data: bytes, sizes: list[int]) -> str:
    cleaner, text, at = Cleaner(), "", 0
    for size in [*sizes, len(data)]:
        text += cleaner.feed(data[at : at + size])
        at += size
    return text + cleaner.feed(b"", final=True)


@given(st.binary(max_size=300), st.lists(st.integers(1, 50), max_size=10))
def test_nothing_bad_gets_through_however_it_is_cut(data: bytes, sizes: list[int]) -> None:
    assert not _BAD & set(_feed(data, sizes))


@given(st.text(st.characters(exclude_categories=["C"]), max_size=200), st.lists(st.integers(1, 20), max_size=20))
def test_plain_text_is_untouched_however_it_is_cut(text: str, sizes: list[int]) -> None:
    assert _feed(text.encode(), sizes) == text


@given(st.lists(st.integers(1, 7), max_size=30))
def test_sequences_are_removed_however_they_are_cut(sizes: list[int]) -> None:
    data = b"a\x1b[1;31mb\x1b]8;;http://x\x07c\x1b]8;;\x1b\\d\r\n\x1b(Be\xe2\x82\xac"
    assert _feed(data, sizes) == "abcd\ne€"


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"1%\r2%\r3%\n", "3%\n"), (b"\r1%", "1%"), (b"a\rb\nc\r", "b\nc"), (b"x\r\ny", "x\ny")],
)
def test_overwritten_lines(data: bytes, text: str) -> None:
    assert _feed(data, [1] * len(data))[-len(text) :] == text
    assert _feed(data, []) == text


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("\r 45%|####5     | 45/100 [00:03<00:04, 12.34it/s]", (0.45, 4.0, "")),
        ("\rTraining:  7%|▋         | 7/100 [01:00<1:02:03, 1.5s/it]", (0.07, 3723.0, "Training")),
        ("\r  0%|          | 0/10 [00:00<?, ?it/s]", (0.0, None, "")),
        ("10%\r20%\r30%\r", (0.3, None, "")),
        ("\r\x1b[32mGet 3 of 12\x1b[0m files, ETA: 2:05", (0.25, 125.0, "Get")),
        ("\r[=====>    ] 50.5 %", (0.505, None, "")),
        ("\rEpoch 2/5 [==>   ] 40%", (0.4, None, "Epoch 2/5")),
        ("50%\n", None),
        ("50%\r\n", None),
        ("\rspinning |", None),
        ("\r7/0", None),
        ("\r110%", None),
        ("\r2026/11/25 10:20", None),
    ],
)
def test_progress_is_read_from_a_line_that_is_rewritten(data: str, found: tuple[float, float | None, str] | None) -> None:
    assert progress(data.encode()) == found


@given(st.binary(max_size=300) | st.from_regex(rb"\r\w* ?\d*%?\|?#* ?\d*/\d* \[?[\d:]*<?[\d:]*", fullmatch=True))
def test_any_bytes_give_bounded_progress_or_none(data: bytes) -> None:
    if found := progress(data):
        assert 0 <= found.fraction <= 1 and len(found.label) <= 60 and not _BAD & set(found.label)
        assert found.eta is None or 0 <= found.eta < 1e11


@given(st.text(st.characters(), max_size=100))
def test_clean_is_idempotent(text: str) -> None:
    assert not _BAD & set(clean(text))
    assert clean(clean(text)) == clean(text)


@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=400)), max_size=20), st.integers(2, 500))
def test_a_transcript_is_bounded_and_counts(parts: list[tuple[str, bytes]], limit: int) -> None:
    transcript = Transcript(limit)
    shown = "".join(transcript.add(stream, data) for stream, data in parts)
    shown += "".join(text for _, text in transcript.rest())
    total = sum(len(data) for _, data in parts)
    assert transcript.dropped == max(0, total - limit)
    assert len(shown) <= limit + 60
    assert ("bytes dropped" in shown) >= bool(transcript.dropped)


@given(st.text(st.characters(), max_size=400))
def test_any_name_is_safe(name: str) -> None:
    safe = safe_name(name)
    parts = safe.split("/")
    assert parts and all(part not in ("", ".", "..") and len(part) <= 120 and len(part.encode()) <= 255 for part in parts)
    assert not (_BAD | {"\n", "\t", "\\"}) & set(safe)
    assert safe_name(safe) == safe


def test_words() -> None:
    assert human(40 << 20) == "40 MB"
    assert human(2 << 30) == "2 GB"
    assert human(999) == "999 bytes"
    assert shorten("x" * 100, 10).count("x") == 10
