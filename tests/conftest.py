"""For every test: a call that blocks the event loop fails it."""

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture(autouse=True)
def _no_blocking_calls() -> Iterator[BlockBuster]:
    """Raises `BlockingError` inside our own packages only: libraries answer for themselves."""
    with blockbuster_ctx(scanned_modules=["bot", "adapters", "sandbox"]) as blockbuster:
        yield blockbuster
