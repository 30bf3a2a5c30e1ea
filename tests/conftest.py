"""For every test: a call that blocks the event loop fails it."""

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

# Machines are shared: how long an input takes to be made says nothing about what is tested.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those with containers first: they take longest, and nobody is to wait for the last of them alone."""
    items.sort(key=lambda item: item.get_closest_marker("engine") is None)


@pytest.fixture(autouse=True)
def _no_blocking_calls() -> Iterator[BlockBuster]:
    """Raises `BlockingError` inside our own packages only: libraries answer for themselves."""
    with blockbuster_ctx(scanned_modules=["bot", "adapters", "sandbox"]) as blockbuster:
        yield blockbuster
