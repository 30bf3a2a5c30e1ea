"""Discord's own OpenAPI document as a judge of what the bot sends and what the fake answers."""

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

ROOT = Path(__file__).parents[3]
URI = "urn:discord"
TOLERATED = {("PATCH", "/channels/{channel_id}/messages/{message_id}"): {"tts"}}
"""Arguments that discord.py always sends, and Discord ignores."""
SNOWFLAKES = {"id", "message_id", "channel_id", "guild_id", "application_id"}


def document() -> Path:
    """Where the document should be: `DISCORD_OPENAPI`, from the repository's root."""
    return ROOT / os.environ.get("DISCORD_OPENAPI", "../shared/specs/discord-openapi.json")


@cache
def load() -> "Contract | None":
    """The contract, or None where the document is absent."""
    path = document()
    return Contract(json.loads(path.read_text("utf-8"))) if path.exists() else None


class Contract:
    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        resource: Resource[Any] = Resource.from_contents(self._absolute(spec), default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(URI, resource)
        self._routes: list[tuple[str, re.Pattern[str]]] = [
            (template, re.compile(re.sub(r"\{\w+\}", "[^/]+", re.sub(r"([.@])", r"\\\1", template))))
            for template in spec["paths"]
        ]
        self._routes.sort(key=lambda route: route[0].count("{"))

    def _absolute(self, node: Any) -> Any:
        if isinstance(node, dict):
            return {k: URI + v if k == "$ref" else self._absolute(v) for k, v in node.items()}
        return [self._absolute(item) for item in node] if isinstance(node, list) else node

    def route(self, method: str, path: str) -> str | None:
        """The path template of a request."""
        for template, pattern in self._routes:
            if pattern.fullmatch(path) and method.lower() in self._spec["paths"][template]:
                return template
        return None

    def request(self, method: str, template: str, query: dict[str, str], body: Any, multipart: bool) -> list[str]:
        """What is wrong with a request."""
        operation = self._spec["paths"][template][method.lower()]
        named = {p["name"] for p in (*operation.get("parameters", ()), *self._spec["paths"][template].get("parameters", ()))}
        problems = [f"unknown query argument {name!r}" for name in query if name not in named]
        contents = operation.get("requestBody", {}).get("content", {})
        schema = contents.get("multipart/form-data" if multipart else "application/json", {}).get("schema")
        if body is None:
            return problems
        if schema is None:
            return [*problems, "a body where none is taken"]
        tolerated = TOLERATED.get((method, template), set())
        if isinstance(body, dict) and (known := self._properties(schema)):
            problems += [f"unknown argument {name!r}" for name in body if name not in known | tolerated]
        return problems + self._check(schema, _with_text_ids(body))

    def response(self, method: str, template: str, status: int, body: Any) -> list[str]:
        """What is wrong with an answer of the fake's."""
        answers = self._spec["paths"][template][method.lower()]["responses"]
        content = answers.get(str(status), {}).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        if str(status) not in answers:
            return [f"status {status} is not one of {sorted(answers)}"]
        return self._check(schema, body) if schema else []

    def object(self, name: str, body: Any) -> list[str]:
        """What is wrong with an object as the named schema."""
        return self._check({"$ref": f"#/components/schemas/{name}"}, body)

    def _check(self, schema: Any, body: Any) -> list[str]:
        validator = Draft202012Validator(self._absolute(schema), registry=self._registry)
        return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(body)]

    def _properties(self, schema: dict[str, Any]) -> set[str]:
        """Every property a schema names; the document says nowhere that others are refused, though Discord ignores them."""
        if "$ref" in schema:
            schema = self._spec["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        names = set(schema.get("properties", ()))
        for part in (*schema.get("allOf", ()), *schema.get("oneOf", ()), *schema.get("anyOf", ())):
            names |= self._properties(part)
        return names


def _with_text_ids(node: Any) -> Any:
    """Ids may be sent as numbers ("snowflake or number"), which the document does not say."""
    if isinstance(node, dict):
        return {k: str(v) if k in SNOWFLAKES and isinstance(v, int) else _with_text_ids(v) for k, v in node.items()}
    return [_with_text_ids(item) for item in node] if isinstance(node, list) else node
