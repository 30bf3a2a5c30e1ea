"""The libraries that are there without an import, and those that take long to load: who needs them, and how they come."""

import contextlib
import importlib
import re
import sys
from typing import Any

PREDEFINED = {"np": "numpy", "pd": "pandas", "plt": "matplotlib.pyplot"}
PRELOADED = (*PREDEFINED.values(), "PIL.Image", "PIL.ImageShow", "cloudpickle")

_WORDS = re.compile(r"\b(?:np|pd|plt|numpy|pandas|matplotlib|seaborn|scipy|sklearn|plotly|PIL|cv2)\b")


def wants_preloaded(code: str) -> bool:
    """Whether the code names a library that is loaded faster by a kernel of the warm zygote. A wrong guess costs time only."""
    return _WORDS.search(code) is not None


def predefined(code: str) -> list[str]:
    """Those of the predefined names that occur in the code."""
    words = set(_WORDS.findall(code))
    return [name for name in PREDEFINED if name in words]


def load(name: str) -> Any:
    """The module as the image has it: a file of that name in the workspace does not stand in its way. Raises ImportError."""
    path = sys.path[:]
    sys.path[:] = [folder for folder in path if folder]
    try:
        return importlib.import_module(name)
    finally:
        sys.path[:] = path


def preload() -> None:
    """Load all that takes long."""
    for name in PRELOADED:
        with contextlib.suppress(ImportError):  # an image may leave a library out
            load(name)
