"""What the code of which threads may reach, as the operator writes it."""

import pytest

from bot.errors import ConfigError
from bot.policy import Reach, told, wants_packages
from bot.types import ThreadRef
from sandbox import Egress

INDEXES = ("https://index.example/simple",)


@pytest.mark.parametrize(
    ("rules", "hosts", "packages"),
    [
        ("", (), False),
        ("* = a.org", ("a.org",), False),
        ("* = a.org; slack = b.org", ("b.org",), False),
        ("slack = b.org; slack/T1 = c.org d.org:8443", ("c.org", "d.org:8443"), False),
        ("slack/T1/C1 = pypi\n* = a.org", (), True),
        ("* = pypi a.org; slack/T1/C1 =", (), False),
        ("slack/T2 = a.org; slack/T1/C2 = b.org; discord = c.org", (), False),
        ("slack/T = a.org; slack/T1/C = b.org", (), False),
    ],
)
def test_of_the_rules_for_a_place_the_narrowest_counts_alone(rules: str, hosts: tuple[str, ...], packages: bool) -> None:
    assert Reach(rules, INDEXES)(ThreadRef("slack", "T1/C1", "1.2")) == Egress(hosts, INDEXES if packages else ())


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("a.org", "is no rule. One looks like this: slack/"),
        ("= a.org", "is no rule"),
        ("slack C1 = a.org", "is no rule"),
        ("* = https://a.org", "'https://a.org' is neither a host"),
        ("* = 10.0.0.0/8", "is neither a host"),
    ],
)
def test_what_is_no_rule_is_said(rules: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"^CELLMATE_EGRESS: ") as refused:
        Reach(rules, INDEXES)
    assert words in str(refused.value)


def test_packages_without_an_index_are_no_rule() -> None:
    assert [wants_packages(text) for text in ("* = pypi", "a = b.org pypi; c = d", "* = pypi.example.org", "")] == [
        True,
        True,
        False,
        False,
    ]
    with pytest.raises(ConfigError, match="set to no index"):
        Reach("* = pypi")


def test_the_model_is_told_what_there_is_and_nothing_where_there_is_nothing() -> None:
    assert told(Egress()) == ""
    assert told(Egress(("a.org", "*.b.org"))).endswith("by https only: a.org, *.b.org.")
    assert "pip install" not in told(Egress(("*",))) and "every public one" in told(Egress(("*",)))
    assert "!pip install" in told(Egress((), INDEXES)) and "hosts" not in told(Egress((), INDEXES))
