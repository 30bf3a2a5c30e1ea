"""Python's side of the way out: where programs look for a proxy, and where pip installs to."""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

PACKAGES = Path("/workspace/.packages")
"""Kept with the thread's files, which figures and new files are told apart from by the dot."""
LIBRARY = PACKAGES / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
_AUTHORITIES = Path("/tmp/.authorities.pem")
_CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"

ENVIRONMENT = {
    "PYTHONPATH": str(LIBRARY),
    "PIP_PREFIX": str(PACKAGES),
    "PIP_CONSTRAINT": str(_CONSTRAINTS),
    "PIP_NO_CACHE_DIR": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_NO_WARN_SCRIPT_LOCATION": "1",
    "PIP_RETRIES": "0",
    "PIP_DEFAULT_TIMEOUT": "900",
    "PIP_PROGRESS_BAR": "off",
}
"""For every program: pip leaves what the image holds as it is, and installs beside it."""


class _Reach:
    packages = False
    hosts: tuple[str, ...] = ()


def join(way: dict[str, Any]) -> None:
    """Programs started from here go through the door at `port`, to what `hosts` names; pip asks the host for packages.

    Nothing of it is a limit: what may be reached is held on the host.
    """
    _Reach.packages, _Reach.hosts = way["packages"] is True, tuple(way["hosts"])
    proxy = f"http://127.0.0.1:{way['port']}"
    os.environ.update(dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"))
    os.environ.update(dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy))
    if way["authorities"]:
        _AUTHORITIES.write_text(way["authorities"])
        os.environ.update(
            dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"), str(_AUTHORITIES))
        )
    if _Reach.packages:
        LIBRARY.mkdir(parents=True, exist_ok=True)
        os.environ["PIP_INDEX_URL"] = f"{proxy}/simple/"
        os.environ["PATH"] = f"{os.environ.get('PATH', '')}:{PACKAGES / 'bin'}"
        importlib.invalidate_caches()


def has_packages() -> bool:
    """`pip install` works here."""
    return _Reach.packages


def has_hosts() -> bool:
    """Something can be reached."""
    return bool(_Reach.hosts)
