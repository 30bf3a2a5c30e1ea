"""Settings: read once, and a mistake is one clear line."""

from pathlib import Path

import pytest

from bot import wiring
from bot.errors import ConfigError
from bot.settings import Settings, read, refuse_unknown, table


def test_a_misspelt_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"CELLMATE_MEMRY is not a setting\. Did you mean CELLMATE_MEMORY\?"):
        refuse_unknown([Settings], {"CELLMATE_MEMRY": "1"})


def test_a_bad_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLMATE_MEMORY", "lots")
    with pytest.raises(ConfigError, match=r"^CELLMATE_MEMORY: "):
        read(Settings)


@pytest.mark.parametrize(
    ("environment", "uses"),
    [
        ({}, False),
        ({"OPENAI_API_KEY": "k"}, True),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, True),
        ({"OPENAI_API_KEY": "k", "CELLMATE_MODEL": "none"}, False),
        ({"CELLMATE_MODEL": "openai"}, True),
    ],
)
def test_a_key_or_url_turns_the_model_on(environment: dict[str, str], uses: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "CELLMATE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert read(Settings).uses_model is uses


def test_the_documented_table_is_the_one_in_force() -> None:
    documented = Path("docs/settings.md").read_text("utf-8")
    assert table(wiring.all_settings()) in documented, "run `cellmate settings` and put its table into docs/settings.md"


def test_no_secret_is_shown_by_a_settings_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    assert "very-secret" not in repr(read(Settings))
