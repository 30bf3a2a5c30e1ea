"""Calls that discord.py gives up on too soon, and what Discord's error codes mean to us.

discord.py waits out rate limits and repeats 500, 502, 504 and 524; a 503 and a connection cut off reach the caller.
Codes: Discord's documentation, "Opcodes and Status Codes", JSON.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp
import discord

T = TypeVar("T")

WAITS = (0.5, 1.5, 4.0)

UNKNOWN_CHANNEL = 10003
UNKNOWN_MESSAGE = 10008
TOO_LARGE = 40005
MISSING_ACCESS = 50001
NO_TEXT_CHANNEL = 50024
MISSING_PERMISSIONS = 50013
THREAD_EXISTS = 160004
THREADS_FULL = 160006
BLOCKED_BY_AUTOMOD = (200000, 240000)
NO_THREAD_HERE = (MISSING_ACCESS, MISSING_PERMISSIONS, NO_TEXT_CHANNEL, THREADS_FULL)


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Call, and call again when Discord is away for a moment. What is sent so must carry a nonce, or change nothing twice."""
    for wait in WAITS:
        try:
            return await call()
        except discord.DiscordServerError as problem:
            if problem.status != 503:
                raise
        except (aiohttp.ClientConnectionError, ConnectionError, TimeoutError):
            pass
        await asyncio.sleep(wait)
    return await call()
