"""What `bench.sandbox` measures of llm-sandbox, as JSON: `.setup/rivals/bin/python -m bench.rivals IMAGE ROUNDS FIGURE`.

That virtual environment holds llm-sandbox and nothing else. Measured are its usual session, a process for each cell, and its
interactive one; FIGURE is code that writes /tmp/x.png. Neither gets a network: the image has what they would install.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from docker.errors import APIError
from llm_sandbox import InteractiveSandboxSession, SandboxSession
from llm_sandbox.exceptions import SandboxTimeoutError, SecurityError

PATIENCE = 5.0
"""Seconds that a cell is waited for around a crash. By itself the interactive session waits 300 for a Python that has gone."""
KINDS = {"llm-sandbox": SandboxSession, "llm-sandbox, interactive": InteractiveSandboxSession}


class Rival:
    """One session; what is found goes to `found`: seconds or words, by what they are of."""

    def __init__(self, kind: Any, image: str, found: dict[str, list[float | str]]) -> None:
        # A Python at its prompt keeps the container open, as in llm-sandbox's own images.
        container = {"entrypoint": ["python3"], "network_mode": "none"}
        self.session = kind(image=image, skip_environment_setup=True, runtime_configs=container)
        self.found = found

    def life(self, figure: str) -> None:
        try:
            with self.timed("start to the first cell's end"):
                self.session.open()
                assert self.run("print(1 + 1)") == "2\n"
            for _ in range(10):
                with self.timed("trivial cell"):
                    self.run("print(1 + 1)")
            with self.timed("first plot, with its imports"):
                self.run(figure)
                picture, _ = self.session.container_api.copy_from_container(self.session.container, "/tmp/x.png")
            assert b"\x89PNG" in picture
            self.run("kept = 'kept'")
            self.found["a variable in the next cell"].append(self.run("print(kept)").strip() or "gone")
            self.run("import os; os._exit(1)", PATIENCE)
            self.found["a variable after os._exit"].append(self.run("print(kept)", PATIENCE).strip() or "gone")
        finally:
            with self.timed("close"):
                self.session.close()

    def run(self, code: str, patience: float | None = None) -> str:
        try:
            return str(self.session.run(code, timeout=patience).stdout)
        except SandboxTimeoutError:
            return "gone, and no cell is answered"
        except APIError as error:  # the interactive session's runner is sometimes too fast
            if "no such file" not in str(error):
                raise
            self.found["asked again"].append("a cell's file, taken away while the engine unpacked it")
            return self.run(code, patience)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.found[what].append(time.perf_counter() - began)


def lives(kind: Any, image: str, rounds: int, figure: str) -> dict[str, list[float | str]]:
    found: dict[str, list[float | str]] = defaultdict(list)
    try:
        for _ in range(rounds):
            Rival(kind, image, found).life(figure)
    except SecurityError as refused:  # it reads no file out of a container with a Python before 3.11.4
        return {"not to be had here": [str(refused)]}
    return found


if __name__ == "__main__":
    print(json.dumps({name: lives(kind, sys.argv[1], int(sys.argv[2]), sys.argv[3]) for name, kind in KINDS.items()}))
