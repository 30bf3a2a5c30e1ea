"""The frame parser and the host's reading of what a sandbox says, against anything at all."""

import json
import math
import random
import struct
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import fuzz
from sandbox import Ended, Printed
from sandbox import frames as host
from sandbox.frames import Frames, ProtocolError
from sandbox.runner import wire

TOKEN = bytes(range(16))
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""
OTHER = b"\xff" * 16
kinds = st.sampled_from(sorted(wire.TYPES))
frames = st.builds(wire.Frame, kinds, st.integers(0, 2**32 - 1), st.binary(max_size=300))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)


def _encode(items: list[wire.Frame]) -> bytes:
    return b"".join(wire.encode(TOKEN, *item) for item in items)


@given(st.lists(frames, max_size=8), st.lists(st.integers(1, 200), min_size=1, max_size=20))
@UNTIMED
def test_frames_survive_any_cut(items: list[wire.Frame], cuts: list[int]) -> None:
    data, parser, got, at = _encode(items), wire.Parser(TOKEN), [], 0
    for number in range(len(data) + 1):
        size = cuts[number % len(cuts)]
        got += list(parser.feed(data[at : at + size]))
        at += size
        if at >= len(data):
            break
    assert got == items


@given(st.binary(max_size=2000), st.lists(st.integers(1, 400), max_size=5))
@UNTIMED
def test_noise_gives_nothing_and_raises_nothing(noise: bytes, cuts: list[int]) -> None:
    parser = wire.Parser(OTHER)
    for size in [*cuts, len(noise)]:
        piece, noise = noise[:size], noise[size:]
        assert list(parser.feed(piece)) == []


@given(frames, frames, st.data())
@UNTIMED
def test_after_a_cut_frame_and_padding_the_next_is_read(first: wire.Frame, second: wire.Frame, data: st.DataObject) -> None:
    whole = wire.encode(TOKEN, *first)
    cut = data.draw(st.integers(0, len(whole) - 1))
    parser = wire.Parser(TOKEN)
    got = [*parser.feed(whole[:cut]), *parser.feed(bytes(wire.PADDING)), *parser.feed(wire.encode(TOKEN, *second))]
    assert got[-1] == second
    assert len(got) <= 2  # a payload that was all zeros may be completed by the padding


@given(frames, st.data())
@UNTIMED
def test_a_flipped_bit_is_noticed(frame: wire.Frame, data: st.DataObject) -> None:
    whole = bytearray(wire.encode(TOKEN, *frame))
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    parser = wire.Parser(TOKEN)
    assert frame not in list(parser.feed(bytes(whole)))
    assert list(parser.feed(bytes(wire.PADDING) + wire.encode(TOKEN, wire.DATA, 1, b"next")))[-1].payload == b"next"


@given(frames)
@UNTIMED
def test_a_frame_inside_a_payload_is_only_payload(inner: wire.Frame) -> None:
    outer = wire.Frame(wire.DATA, 1, wire.encode(TOKEN, *inner))
    assert list(wire.Parser(TOKEN).feed(wire.encode(TOKEN, *outer))) == [outer]


@given(st.integers(0, 40))
@settings(UNTIMED, max_examples=20)
def test_memory_is_bounded(count: int) -> None:
    parser = wire.Parser(TOKEN)
    for _ in range(count):
        list(parser.feed(TOKEN + bytes([wire.DATA]) + b"\xff" * 12 + b"z" * (256 << 10)))
    assert len(parser._buffer) <= wire.PREFIX + wire.MAX_PAYLOAD + (512 << 10)


@given(st.lists(st.sampled_from(list(range(len(fuzz.KINDS)))), min_size=1, max_size=10), st.integers(0, 2**32))
@settings(UNTIMED, max_examples=50)
def test_what_no_sandbox_sends_costs_little_and_raises_nothing(kinds: list[int], seed: int) -> None:
    """A few of the million inputs of `bench/fuzz`, whose findings are what it prints."""
    tally, rng = fuzz.Tally(), random.Random(seed)
    tracemalloc.start()
    try:
        for kind in kinds:
            fuzz.stream(fuzz.KINDS[kind], 5, rng, tally)
    finally:
        tracemalloc.stop()
    assert tally.inputs == 5 * len(kinds) and not tally.findings, tally.findings


def test_a_length_that_is_only_claimed_takes_no_memory() -> None:
    claimed = TOKEN + struct.pack(">BII", wire.DATA, 1, wire.MAX_PAYLOAD) + bytes(4)
    tracemalloc.start()
    try:
        for _ in range(100):
            assert list(Frames(TOKEN).feed(claimed)) == []
        assert tracemalloc.get_traced_memory()[1] < 64 << 10
    finally:
        tracemalloc.stop()


def test_a_finding_of_the_fuzzer_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees an exception that is not `ProtocolError`, and memory that one input takes."""
    tally = fuzz.Tally()
    tracemalloc.start()
    try:
        monkeypatch.setattr(host, "state", lambda payload: dict[str, int]()["missing"])
        fuzz.feed(Frames(TOKEN), wire.encode(TOKEN, wire.STATE, 0, b"{}"), tally)
        monkeypatch.setattr(host, "state", lambda payload: bytes(2 << 20))
        fuzz.feed(Frames(TOKEN), wire.encode(TOKEN, wire.STATE, 0, b"{}"), tally)
    finally:
        tracemalloc.stop()
    assert "KeyError" in tally.findings[0] and "bytes for" in tally.findings[1]


def test_a_payload_over_the_limit_is_not_sent() -> None:
    with pytest.raises(ValueError, match="at most"):
        wire.encode(TOKEN, wire.DATA, 0, bytes(wire.MAX_PAYLOAD + 1))


def test_what_a_sandbox_does_not_send_is_dropped() -> None:
    data = wire.encode(TOKEN, wire.RUN) + wire.encode(TOKEN, wire.FORK) + wire.encode(TOKEN, wire.DONE, 3, b"{}")
    assert [frame.type for frame in Frames(TOKEN).feed(data)] == [wire.DONE]


def _try(payload: bytes) -> None:
    """Every reader either understands or raises ProtocolError."""
    for read in (host.output, host.state, host.elapsed, host.json_object, lambda payload: host.count(payload, "bytes")):
        with suppress(ProtocolError):
            read(payload)
    try:
        value = host.json_object(payload)
    except ProtocolError:
        return
    for reader in (host.files, host.variables, host.losses, host.piece):
        with suppress(ProtocolError):
            reader(value)
    for key in ("plan", "gone"):
        with suppress(ProtocolError):
            assert all(len(name) <= 200 and "\x1b" not in name for name in host.names(value, key))


@given(st.binary(max_size=400))
@UNTIMED
def test_any_bytes_are_understood_or_refused(payload: bytes) -> None:
    _try(payload)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "t",
                "text",
                "stream",
                "table",
                "columns",
                "types",
                "rows",
                "total",
                "name",
                "message",
                "traceback",
                "size",
                "figure",
                "alt",
                "facts",
                "head",
                "fraction",
                "eta",
                "label",
                "reason",
                "seconds",
                "detail",
                "lost",
                "notes",
                "nonce",
                "boot",
                "key",
                "ready",
                "cell",
                "elapsed",
                "files",
                "variables",
                "bytes",
                "piece",
                "plan",
                "lost",
                "gone",
                "memory",
                "emptied",
            ]
        ),
        values | st.sampled_from(["started", "printed", "progress", "result", "raised", "made", "ended", "ok"]),
    )
)
@UNTIMED
def test_any_json_is_understood_or_refused(value: dict[str, Any]) -> None:
    _try(json.dumps(value).encode())


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 100_000,
        b'{"t":"made","name":"x","size":1e400}',
        b'{"t":"made","name":"x","size":' + b"9" * 5000 + b"}",
        b'{"t":"ended","reason":"ok","seconds":NaN,"notes":[]}',
        b'{"t":"ended","reason":"ok","seconds":Infinity,"notes":[]}',
        b'{"t":"ended","reason":"ok","seconds":1' + b"0" * 400 + b',"notes":[]}',
        b'{"t":"ended","reason":"ok","seconds":-1,"notes":[]}',
        b'{"t":"made","name":"x","size":true}',
        b'{"t":"progress","fraction":1.01,"label":""}',
        b'{"t":"made","name":"x","size":1,"alt":"","facts":"","head":"xyz"}',
    ],
)
def test_numbers_and_nesting_are_bounded(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        host.output(payload)


@pytest.mark.parametrize("name", [None, "../../x", "A" * 32, "a" * 31, "a" * 33, "a" * 32 + "\n"])
def test_a_pieces_name_is_a_hash_and_nothing_else(name: str | None) -> None:
    with pytest.raises(ProtocolError):
        host.piece({"piece": name})
    assert host.piece({"piece": "0f" * 16}) == "0f" * 16


def test_text_is_cleaned_again_on_the_host() -> None:
    printed = host.output(json.dumps({"t": "printed", "text": "\x1b[31ma\x00\ud800\u202eb"}).encode())
    assert printed == Printed("ab")


def test_an_end_is_read() -> None:
    ended = host.output(
        json.dumps({"t": "ended", "reason": "died", "seconds": 1, "detail": "d", "lost": True, "notes": ["n"]}).encode()
    )
    assert ended == Ended("died", 1.0, "d", True, ("n",))
    assert isinstance(ended, Ended) and math.isfinite(ended.seconds)
