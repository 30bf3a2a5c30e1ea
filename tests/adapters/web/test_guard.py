"""What is printed, and what the key protects. Refusals over HTTP are in tests/flows/test_page.py, with a browser."""

import stat
from pathlib import Path

import pytest

from adapters.web.guard import invitation, read_key, sign, token

KEY = b"key"


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    key = read_key(tmp_path / "web")
    assert len(key) >= 32
    assert read_key(tmp_path / "web") == key
    assert stat.S_IMODE((tmp_path / "web" / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "web").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "web").iterdir()] == ["key"]


def test_what_is_signed_cannot_be_moved_between_parts_or_uses() -> None:
    assert sign(KEY, "ab", "c") != sign(KEY, "a", "bc")
    assert token(KEY) != sign(KEY, "cookie")
    assert sign(KEY, "x") != sign(b"other", "x")


@pytest.mark.parametrize(
    ("environment", "lines"),
    [
        ({"DISPLAY": ":0"}, []),
        ({"WAYLAND_DISPLAY": "wayland-0"}, []),
        ({}, ["from another machine, first: ssh -N -L 8899:127.0.0.1:8899 ada@box"]),
        (
            {"DISPLAY": ":0", "SSH_CONNECTION": "192.0.2.7 5000 192.0.2.1 22"},
            ["from another machine, first: ssh -N -L 8899:127.0.0.1:8899 ada@192.0.2.1"],
        ),
        (
            {"SSH_CONNECTION": "192.0.2.7 5000 192.0.2.1 2222"},
            ["from another machine, first: ssh -N -L 8899:127.0.0.1:8899 -p 2222 ada@192.0.2.1"],
        ),
    ],
)
def test_the_tunnel_is_told_where_there_is_no_browser(environment: dict[str, str], lines: list[str]) -> None:
    said = invitation(8899, KEY, "ada", "box", environment).splitlines()
    assert said == [f"Open http://127.0.0.1:8899/?token={token(KEY)}", *lines]
