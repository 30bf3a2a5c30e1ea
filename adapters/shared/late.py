"""What a room is made of is loaded when it is asked for: whoever does not use a platform does not wait for its packages."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def late(package: str, where: Mapping[str, str]) -> Callable[[str], Any]:
    """A `__getattr__` for the package (PEP 562): the names in `where`, each from the module of the package that it names."""

    def getattr_(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{where[name]}"), name)

    return getattr_
