"""Servers of models that run on this machine already."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

PORTS: Mapping[str, int] = {"Ollama": 11434, "LM Studio": 1234, "llama.cpp": 8080}
"""Where each listens unless told otherwise (their documentation)."""
_WITHIN = 0.5
_MOST = 1 << 20


@dataclass(frozen=True, slots=True)
class Server:
    """One that lists models as OpenAI does."""

    name: str
    base_url: str
    models: tuple[str, ...]


async def listening(ports: Mapping[str, int] | None = None) -> list[Server]:
    """Those that answer within half a second. Whatever else listens there is none of them."""
    timeout = aiohttp.ClientTimeout(total=_WITHIN)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        found = await asyncio.gather(*(_ask(session, name, port) for name, port in (ports or PORTS).items()))
    return [server for server in found if server is not None]


async def _ask(session: aiohttp.ClientSession, name: str, port: int) -> Server | None:
    base_url = f"http://127.0.0.1:{port}/v1"
    try:
        async with session.get(f"{base_url}/models", allow_redirects=False) as response:
            if response.status != 200:
                return None
            body = b""
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > _MOST:
                    return None
        models = tuple(entry["id"] for entry in json.loads(body)["data"])
    except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError, RecursionError):
        return None
    names = tuple(model for model in models if isinstance(model, str) and model and " " not in model)
    return Server(name, base_url, names) if names else None
