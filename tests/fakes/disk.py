"""A disk that is small enough to fill: a tmpfs mount of its own."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """Mount a disk of `kib` KiB at `folder`. Skips the test where that is not allowed."""
    if os.getuid() != 0:
        pytest.skip("a small disk needs root, to mount a tmpfs")
    folder.mkdir(exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk needs the right to mount a tmpfs: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no free byte on the disk of `folder`; removing the file that is returned frees it again."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as ballast:
        for size in (65536, 4096, 1):
            try:
                while True:
                    ballast.write(b"\0" * size)
            except OSError:
                continue
    return path
