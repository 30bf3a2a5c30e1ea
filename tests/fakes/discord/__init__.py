"""A Discord of one server on a loopback port: REST, Gateway and file host, with the real one's limits."""

from tests.fakes.discord.fake import FakeDiscord

__all__ = ["FakeDiscord"]
