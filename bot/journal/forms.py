"""How the core's values are written in the journal, and read back: JSON by the types' own fields.

A field that a newer Cellmate has added is passed over, and one that an older row lacks gets its default, so a type may grow
by fields that have one. The text is ASCII: neither a NUL nor half a surrogate pair, which platforms and models do send,
reaches a database that refuses it.
"""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Generic, TypeVar

from pydantic import TypeAdapter

from bot.types import Called, Item, Question, Receipt, Returned, Said
from sandbox import Saved

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


class Form(Generic[T]):
    """A type's form in the journal. `read` and `write` are inverses."""

    def __init__(self, type_: type[T]) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(type_)

    def write(self, value: T) -> str:
        """The value as JSON text."""
        return json.dumps(asdict(value), separators=(",", ":"))

    def read(self, text: str) -> T:
        """The value that `write` wrote. Raises ValueError for a text that is none."""
        # Not pydantic's own dump and parser: they change or refuse half a surrogate pair.
        return self._adapter.validate_python(json.loads(text))


QUESTION = Form(Question)
RECEIPT = Form(Receipt)
SAVED = Form(Saved)

_SAID, _CALLED, _RETURNED = Form(Said), Form(Called), Form(Returned)


def write_item(item: Item) -> tuple[str, str]:
    """An item's kind and its form."""
    match item:
        case Said():
            return "said", _SAID.write(item)
        case Called():
            return "called", _CALLED.write(item)
        case Returned():
            return "returned", _RETURNED.write(item)


def read_item(kind: str, text: str) -> Item:
    """The item that `write_item` wrote. Raises ValueError for a kind that is none."""
    match kind:
        case "said":
            return _SAID.read(text)
        case "called":
            return _CALLED.read(text)
        case "returned":
            return _RETURNED.read(text)
    raise ValueError(f"no item is a {kind!r}")
