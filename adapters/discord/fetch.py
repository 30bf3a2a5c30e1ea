"""Attachments: a streaming GET from the platform's hosts and no others."""

from collections.abc import AsyncGenerator, Iterable

import aiohttp
import yarl

from bot.errors import Refused

HOSTS = ("cdn.discordapp.com", "media.discordapp.net")
CHUNK = 256 * 1024


class Gone(Exception):
    """The address is no longer good; a new one may be had from its message."""


class Downloads:
    """Reads files of Discord's, and of the hosts that stand in for it in the settings (http too)."""

    def __init__(self, hosts: Iterable[yarl.URL]) -> None:
        self._origins = {(url.host, url.port) for url in hosts}
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60), cookie_jar=aiohttp.DummyCookieJar()
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def read(self, address: str, name: str, size: int) -> AsyncGenerator[bytes, None]:
        """The bytes at `address`, at most `size`. Raises `Gone`, or `Refused` with a sentence about the file `name`."""
        url = yarl.URL(address)
        ours = (url.host, url.port) in self._origins or (url.scheme == "https" and url.host in HOSTS and url.port == 443)
        if not ours:
            raise Refused(f"{name} does not lie on Discord, so I did not fetch it. Attach the file itself.")
        count = 0
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status in (403, 404, 410):
                    raise Gone
                if response.status != 200:
                    raise Refused(f"Discord would not give me {name} (status {response.status}). Attach it again.")
                async for chunk in response.content.iter_chunked(CHUNK):
                    count += len(chunk)
                    if count > size:
                        raise Refused(f"{name} is larger than Discord said, so I left it out. Attach it again.")
                    yield chunk
        except (aiohttp.ClientError, TimeoutError) as problem:
            raise Refused(f"{name} could not be fetched from Discord. Attach it again.") from problem
