"""Ask a Docker engine: what scripts/setup.sh needs before anything is installed, so standard library only.

engine.py find              print the `DOCKER_HOST` of the first engine that answers, and `docker` or `podman`
engine.py tag IMAGE NAME    call the image `NAME` as well; exit 1 if there is no such image
engine.py pull IMAGE        pull a public image; exit 1 if the registry refuses, or says nothing for 20 s
engine.py size IMAGE        print how large an image is
engine.py hash PATH...      print a hash over the files' names and contents

`find` exits 1 and says on stderr what it tried. The others speak to `DOCKER_HOST`. The API is that of Docker 20.10 (1.41).
"""

import hashlib
import json
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import quote, urlsplit

ANSWER_WITHIN = 2.0
"""Seconds; an engine on this machine answers a ping in one millisecond, one across a network in a hundred."""
REGISTRY_WITHIN = 20.0


class EngineConnection(HTTPConnection):
    """HTTP to the engine at `host`, in any form that `DOCKER_HOST` may have but ssh."""

    def __init__(self, host: str, timeout: float) -> None:
        self.address = urlsplit(host)
        if self.address.scheme not in ("unix", "tcp", "http", "https"):
            raise OSError("only unix:// and tcp:// are understood; first type: ssh -NL /tmp/docker.sock:/run/docker.sock HOST")
        super().__init__(self.address.hostname or "docker", self.address.port or 2375, timeout=timeout)

    def connect(self) -> None:
        """Connect by socket, or by TCP with the client's certificates where Docker's own client would show them."""
        if self.address.scheme == "unix":
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self.address.path)
            return
        super().connect()
        if os.environ.get("DOCKER_TLS_VERIFY") or self.address.scheme == "https":
            certificates = Path(os.environ.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
            context = ssl.create_default_context(cafile=certificates / "ca.pem")
            context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
            self.sock = context.wrap_socket(self.sock, server_hostname=self.host)


def ask(method: str, path: str, *, host: str | None = None, timeout: float = 30.0) -> HTTPResponse:
    """The engine's answer, its body unread. OSError or HTTPException when it does not answer."""
    connection = EngineConnection(host or os.environ["DOCKER_HOST"], timeout)
    connection.request(method, path)
    return connection.getresponse()


def context_host() -> str | None:
    """The endpoint of the context chosen with `docker context use`, kept under ~/.docker (docs.docker.com, Docker contexts)."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        chosen = os.environ.get("DOCKER_CONTEXT") or json.loads((folder / "config.json").read_text())["currentContext"]
        meta = folder / "contexts" / "meta" / hashlib.sha256(chosen.encode()).hexdigest() / "meta.json"
        return str(json.loads(meta.read_text())["Endpoints"]["docker"]["Host"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def candidates() -> Iterator[str]:
    """Where an engine may be. A `DOCKER_HOST` that is set is an order, not a hint."""
    if named := os.environ.get("DOCKER_HOST"):
        yield named
        return
    if chosen := context_host():
        yield chosen
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    sockets = [
        Path("/var/run/docker.sock"),
        runtime / "docker.sock",
        Path.home() / ".docker/run/docker.sock",
        Path.home() / ".colima/default/docker.sock",
        runtime / "podman/podman.sock",
        Path("/run/podman/podman.sock"),
    ]
    for path in sockets:
        try:
            if path.exists():
                yield f"unix://{path}"
        except PermissionError:
            print(f"  {path}: may not be looked at", file=sys.stderr)


def find() -> bool:
    """Print the first engine that answers."""
    for host in candidates():
        try:
            components = json.load(ask("GET", "/version", host=host, timeout=ANSWER_WITHIN)).get("Components") or []
        except (OSError, HTTPException, ValueError) as reason:
            print(f"  {host}: {reason}", file=sys.stderr)
            continue
        podman = any(part.get("Name") == "Podman Engine" for part in components)
        print(host, "podman" if podman else "docker")
        return True
    return False


def pull(image: str) -> bool:
    """Pull, and say how it went on stderr."""
    name, _, tag = image.partition(":")
    try:
        answer = ask("POST", f"/images/create?fromImage={quote(name, safe='')}&tag={tag}", timeout=REGISTRY_WITHIN)
        lines = [json.loads(line) for line in answer if line.strip()]
    except (OSError, HTTPException, ValueError) as reason:
        print(reason, file=sys.stderr)
        return False
    problems = [line.get("error") or line.get("message") for line in lines if "error" in line or answer.status >= 400]
    print("\n".join(map(str, problems)), file=sys.stderr)
    return not problems


def tag(image: str, name: str) -> bool:
    """Call the image `name` too. This is also how to learn whether it is there."""
    repository, _, version = name.partition(":")
    return ask("POST", f"/images/{quote(image)}/tag?repo={quote(repository)}&tag={version}").status == 201


def size(image: str) -> bool:
    """Print an image's size, all its layers together."""
    answer = ask("GET", f"/images/{quote(image)}/json")
    print(f"{json.load(answer)['Size'] / 1e9:.2f} GB" if answer.status == 200 else "no size: it is not there")
    return answer.status == 200


def digest(*paths: str) -> bool:
    """Print a hash that changes when a file's name or content does; what Python leaves behind does not count."""
    files = [file for path in map(Path, paths) for file in ([path] if path.is_file() else path.rglob("*"))]
    total = hashlib.sha256()
    for file in sorted(files):
        if file.is_file() and "__pycache__" not in file.parts:
            total.update(f"{file}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    print(total.hexdigest()[:16])
    return True


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    actions: dict[str, Callable[..., bool]] = {"find": find, "tag": tag, "pull": pull, "size": size, "hash": digest}
    sys.exit(0 if actions[command](*arguments) else 1)
