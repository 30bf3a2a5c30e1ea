"""The host's reading of a sandbox against what none sends: `bench/fuzz [INPUTS] [SEED]`, a million by default.

Each input goes through the parser, and each frame that comes out through every reader. A finding is an exception that is not
`ProtocolError`, more than 1 MiB of memory for one input, or a stream that does not find its way back to the next good frame.
They are printed with the input, and the exit status is 1.
"""

import json
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sandbox import frames
from sandbox.frames import Frames, ProtocolError
from sandbox.runner import wire

TOKEN = bytes(range(200, 216))
MOST = 1 << 20
BATCH = 1000
"""Inputs to one stream, before it must read a good frame again."""

_ENDED = {"t": "ended", "reason": "ok", "seconds": 1.5, "detail": "d", "lost": False, "notes": ["n"]}
_TABLE = {"columns": ["a", "b"], "rows": [["1", "2"]], "total": 1, "types": ["int", "int"]}
_MADE = {"t": "made", "name": "a/b.png", "size": 7, "figure": True, "alt": "words", "facts": "more", "head": "89504e47"}
GOOD: tuple[tuple[int, dict[str, Any]], ...] = (
    (wire.STATE, {"nonce": "n", "boot": "b", "key": "k", "ready": True, "cell": {"id": "c", "running": True}}),
    (wire.EVENT, {"t": "started", "elapsed": 0.5}),
    (wire.EVENT, {"t": "printed", "stream": "stderr", "text": "text " * 20}),
    (wire.EVENT, {"t": "result", "text": "r", "table": _TABLE}),
    (wire.EVENT, {"t": "raised", "name": "E", "message": "m", "traceback": "line\n" * 10}),
    (wire.EVENT, {"t": "progress", "fraction": 0.5, "eta": 3, "label": "words"}),
    (wire.EVENT, _MADE),
    (wire.EVENT, _ENDED),
    (wire.NOTE, {"files": [["a.txt", 3]], "variables": [["x", "int", "1"]], "lost": [["y", "why"]], "plan": ["x"]}),
    (wire.NOTE, {"piece": "0" * 32, "kept": "x", "trying": "y"}),
    (wire.CREDIT, {"bytes": 131072}),
    (wire.DONE, {"files": 3, "name": "a", "size": 1}),
    (wire.REFUSED, {"why": "full"}),
)
_ODD: tuple[object, ...] = (
    None,
    True,
    -1,
    1 << 70,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "\ud800\u202e\x00",
    [],
    {},
    [[]],
    [{}] * 20,
    "x" * 3000,
)


def readers(frame: wire.Frame) -> Iterator[Callable[[], object]]:
    """All that may be made of a frame, whatever its type says."""
    for read in (frames.state, frames.output, frames.elapsed):
        yield lambda read=read: read(frame.payload)  # type: ignore[misc]
    yield lambda: frames.count(frame.payload, "bytes")
    for take in (frames.files, frames.variables, frames.losses):
        yield lambda take=take: take(frames.json_object(frame.payload))  # type: ignore[misc]
    yield lambda: frames.piece(frames.json_object(frame.payload))
    yield lambda: frames.names(frames.json_object(frame.payload), "plan")
    yield lambda: frames.name(frames.json_object(frame.payload), "kept")


def good(rng: random.Random) -> bytes:
    """A frame as a supervisor sends it."""
    kind, value = rng.choice(GOOD)
    return wire.encode(TOKEN, kind, rng.getrandbits(32), wire.pack(value))


def noise(rng: random.Random) -> bytes:
    """Any bytes, half of them behind a token."""
    return rng.choice((b"", TOKEN)) + rng.randbytes(rng.randrange(600))


def truncated(rng: random.Random) -> bytes:
    """A frame that stops somewhere."""
    whole = good(rng)
    return whole[: rng.randrange(len(whole))]


def flipped(rng: random.Random) -> bytes:
    """A frame with some wrong bits."""
    whole = bytearray(good(rng))
    for _ in range(rng.randint(1, 4)):
        whole[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
    return bytes(whole)


def replayed(rng: random.Random) -> bytes:
    """Good frames again, out of order, of other types, one inside another."""
    inner = good(rng)
    kind = rng.choice(sorted(wire.TYPES))
    return inner + wire.encode(TOKEN, kind, rng.getrandbits(32), inner) + inner


def altered(rng: random.Random) -> bytes:
    """A whole frame of a supervisor that lies: other values under the names that we read."""
    kind, value = rng.choice(GOOD)
    lie = dict(value)
    for name in rng.sample(sorted(value), rng.randint(1, len(value))):
        lie[name] = rng.choice((*_ODD, rng.choice(GOOD)[1]))
    return wire.encode(TOKEN, kind, 1, json.dumps(lie).encode())


def garbled(rng: random.Random) -> bytes:
    """A whole frame whose content is no longer the JSON it was."""
    kind, value = rng.choice(GOOD)
    payload = bytearray(wire.pack(value))
    for _ in range(rng.randint(1, 4)):
        payload[rng.randrange(len(payload))] = rng.getrandbits(8)
    return wire.encode(TOKEN, kind, 1, bytes(payload))


KINDS = (noise, truncated, flipped, replayed, altered, garbled)


@dataclass
class Tally:
    """What became of one kind of input."""

    inputs: int = 0
    frames: int = 0
    refused: int = 0
    peak: int = 0
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)


def feed(parser: Frames, data: bytes, tally: Tally) -> None:
    """One input; what it costs and does goes into the tally."""
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    try:
        for frame in parser.feed(data):
            tally.frames += 1
            for read in readers(frame):
                try:
                    read()
                except ProtocolError:
                    tally.refused += 1
    except Exception as error:
        tally.findings.append(f"{error!r} for {data!r}")
    cost = tracemalloc.get_traced_memory()[1] - before
    tally.inputs, tally.peak = tally.inputs + 1, max(tally.peak, cost)
    if cost > MOST:
        tally.findings.append(f"{cost:,} bytes for {data!r}")


def stream(make: Callable[[random.Random], bytes], count: int, rng: random.Random, tally: Tally) -> None:
    """So many inputs in one stream, and a good frame after it, as after a bot that was killed half-way."""
    parser, began = Frames(TOKEN), time.perf_counter()
    for _ in range(count):
        feed(parser, make(rng), tally)
    tally.seconds += time.perf_counter() - began
    last = wire.encode(TOKEN, wire.DONE, 7, b'{"last":true}')
    read = list(parser.feed(bytes(wire.PADDING) + last))
    if not read or read[-1] != wire.Frame(wire.DONE, 7, b'{"last":true}'):
        tally.findings.append("the stream did not find its way back")


def main(inputs: int, seed: int) -> int:
    """Print the table; 1 where something was found."""
    rng = random.Random(seed)
    tallies = {make: Tally() for make in KINDS}
    tracemalloc.start()
    for number in range(-(-inputs // BATCH)):
        make = KINDS[number % len(KINDS)]
        stream(make, min(BATCH, inputs - number * BATCH), rng, tallies[make])
    print(f"{f'seed {seed}':<12}{'inputs':>10}{'frames':>10}{'refused':>12}{'exceptions':>12}{'peak KiB':>10}{'seconds':>10}")
    for make, tally in tallies.items():
        counts = f"{tally.inputs:>10,}{tally.frames:>10,}{tally.refused:>12,}{len(tally.findings):>12,}"
        print(f"{make.__name__:<12}{counts}{tally.peak / 1024:>10.1f}{tally.seconds:>10.1f}")
    found = [finding for tally in tallies.values() for finding in tally.findings]
    for finding in found[:10]:
        print(finding[:2000])
    return 1 if found else 0


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]] or [1_000_000]
    sys.exit(main(numbers[0], numbers[1] if len(numbers) > 1 else time.time_ns() % 1_000_000))
