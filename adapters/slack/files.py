"""Files from and to Slack, streamed both ways.

Sources: docs.slack.dev, "Working with files" (external upload flow), the file object, `files.info`.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from adapters.shared import neutral
from adapters.slack.api import TOKEN_REFUSED, UNREACHABLE, code
from bot.errors import Refused
from bot.ports import Files
from bot.types import Attachment, CardFile

ALT = 1000
_HOSTS = ("slack.com", "slack-gov.com", "slack-files.com")
_REDIRECTS = 3
_CHUNK = 256 * 1024
_WHY = {
    "file_uploads_disabled": "file uploads are switched off in this workspace",
    "file_uploads_except_images_disabled": "this workspace takes no files but images",
    "file_type_not_allowed": "this workspace does not take files of this type",
    "file_upload_size_restricted": "it is larger than this workspace allows",
    "file_size_too_large": "it is larger than Slack allows",
    "storage_limit_reached": "the workspace's storage is full",
    "missing_scope": "the Slack app lacks the files:write permission; an administrator adds it and reinstalls the app",
}
_PASSING = frozenset({"fatal_error", "internal_error", "ratelimited", "rate_limited", "request_timeout", "service_unavailable"})


@dataclass(frozen=True, slots=True)
class Transfer:
    """Moves bytes between Slack and us."""

    web: AsyncWebClient
    session: aiohttp.ClientSession
    files: Files
    api_url: str

    async def fetch(self, attachment: Attachment) -> AsyncGenerator[bytes, None]:
        """The attachment's bytes as they come. Raises `Refused`, whose sentence says what to do."""
        if (text := attachment.locator.get("csv")) is not None:
            yield str(text).encode()
            return
        url = str(attachment.locator.get("url") or "") or await self._address(attachment)
        try:
            async with await self._get(url, attachment) as response:
                first = True
                async for chunk in response.content.iter_chunked(_CHUNK):
                    if first and _is_page(response, chunk) and not _expects_page(attachment):
                        raise Refused(_signed_out(attachment))
                    first = False
                    yield chunk
        except UNREACHABLE as error:
            raise Refused(f"Slack broke off while sending {attachment.name}; please attach it again.") from error

    async def _address(self, attachment: Attachment) -> str:
        """Where a file lies whose event did not say (Slack Connect: `check_file_info`)."""
        try:
            answer = await self.web.files_info(file=str(attachment.locator.get("id")))
        except SlackApiError as error:
            if code(error) in ("missing_scope", *TOKEN_REFUSED):
                raise Refused(_signed_out(attachment)) from error
            raise Refused(f"Slack does not give {attachment.name} ({code(error)}); please attach it again.") from error
        except UNREACHABLE as error:
            raise Refused(f"Slack could not be asked for {attachment.name}; please attach it again.") from error
        file: dict[str, Any] = answer.get("file") or {}
        url = file.get("url_private_download") or file.get("url_private")
        if not url:
            raise Refused(f"Slack gives no bytes of {attachment.name}: it lies elsewhere or is hidden; please attach a copy.")
        return str(url)

    async def _get(self, url: str, attachment: Attachment) -> aiohttp.ClientResponse:
        """The answer with the file's bytes. Our token goes to Slack's own hosts and nowhere else."""
        for _ in range(_REDIRECTS):
            if not self._trusted(url):
                raise Refused(f"{attachment.name} does not lie on Slack's own servers; please attach a copy of it.")
            headers = {"Authorization": f"Bearer {self.web.token}"}
            response = await self.session.get(url, headers=headers, allow_redirects=False)
            if response.status == 200:
                return response
            target = response.headers.get("Location", "")
            response.release()
            if not (300 <= response.status < 400 and target):
                raise Refused(_status(attachment, response.status))
            url = urljoin(url, target)
        raise Refused(f"Slack sends in circles for {attachment.name}; please attach it again.")

    def _trusted(self, url: str) -> bool:
        """https at Slack, or the very host and port of SLACK_API_URL."""
        target, ours = urlsplit(url), urlsplit(self.api_url)
        host = target.hostname or ""
        if target.netloc == ours.netloc and target.scheme in ("https", ours.scheme):
            return True
        return target.scheme == "https" and any(host == known or host.endswith(f".{known}") for known in _HOSTS)

    async def upload(self, channel: str, root: str, wanted: Sequence[CardFile]) -> dict[str, str]:
        """Post all of `wanted` as one message in the thread; by name, why a file was refused, or "" where it was taken.

        Raises what may pass by itself (a broken connection, Slack's own failure): nothing then stands in the thread, or all.
        """
        why: dict[str, str] = {}
        taken: list[tuple[CardFile, str]] = []
        for file in wanted:
            try:
                taken.append((file, await self._send(file)))
            except _FileRefused as problem:
                why[file.name] = str(problem)
        return why | await self._complete(channel, root, taken)

    async def _send(self, file: CardFile) -> str:
        """One file's bytes; its id at Slack."""
        if not file.blob.size:
            raise _FileRefused("it is empty, and Slack takes no empty files")
        name = neutral.line(PurePosixPath(file.name).name)
        alt = neutral.line(file.alt or file.name, ALT)
        try:
            ticket = await self.web.files_getUploadURLExternal(filename=name, length=file.blob.size, alt_txt=alt)
        except SlackApiError as error:
            raise _file_refused(error) from error
        async with aclosing(self.files.open(file.blob)) as chunks:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(file.blob.size)}
            async with self.session.post(ticket["upload_url"], data=chunks, headers=headers) as response:
                if response.status >= 500:
                    response.raise_for_status()
                if response.status != 200:
                    raise _FileRefused(f"Slack's upload server refused it with status {response.status}")
        return str(ticket["file_id"])

    async def _complete(self, channel: str, root: str, taken: Sequence[tuple[CardFile, str]]) -> dict[str, str]:
        """Share what was sent: all in one message, or, where Slack refuses them together, one by one."""
        if not taken:
            return {}
        try:
            await self.web.files_completeUploadExternal(
                files=[{"id": id, "title": neutral.line(file.name)} for file, id in taken], channel_id=channel, thread_ts=root
            )
        except SlackApiError as error:
            problem = _file_refused(error)
            if len(taken) == 1:
                return {taken[0][0].name: str(problem)}
            why: dict[str, str] = {}
            for one in taken:
                why |= await self._complete(channel, root, [one])
            return why
        return {file.name: "" for file, _ in taken}


class _FileRefused(Exception):
    """Slack will not take one file, however often it is asked."""


def _file_refused(error: SlackApiError) -> _FileRefused:
    """The reason in words. Raises the error itself where it may pass."""
    if code(error) in _PASSING or code(error) == "":
        raise error
    return _FileRefused(_WHY.get(code(error), f"Slack refused it ({code(error)})"))


def _is_page(response: aiohttp.ClientResponse, start: bytes) -> bool:
    head = start[:200].lstrip().lower()
    return response.content_type == "text/html" or head.startswith((b"<!doctype html", b"<html"))


def _expects_page(attachment: Attachment) -> bool:
    return attachment.media_type == "text/html" or attachment.name.lower().endswith((".html", ".htm"))


def _signed_out(attachment: Attachment) -> str:
    return (
        f"Slack does not let Cellmate read {attachment.name}: the app lacks the files:read permission. "
        "An administrator adds it and reinstalls the app."
    )


def _status(attachment: Attachment, status: int) -> str:
    if status in (401, 403):
        return _signed_out(attachment)
    if status in (404, 410):
        return f"{attachment.name} is no longer on Slack; please attach it again."
    return f"Slack does not give {attachment.name} (status {status}); please attach it again."
