"""A Slack workspace on a loopback port: Web API, files, Socket Mode, people. `FakeSlack` is a `Platform`."""

from tests.fakes.slack.server import Call, Envelope, FakeSlack

__all__ = ["Call", "Envelope", "FakeSlack"]
