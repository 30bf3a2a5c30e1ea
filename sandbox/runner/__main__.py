"""`python3 -I /opt/cellmate/runner ROLE …`: the supervisor (PID 1) or, started by it, the zygote.

The folder is loaded as the package `_cellmate`, so that a person's own `files.py` or `kernel.py` is never shadowed by ours.
"""

import importlib.util
import sys
from pathlib import Path


def _load() -> None:
    here = Path(__file__).resolve().parent
    sys.path[:] = [path for path in sys.path if path != str(here)]
    spec = importlib.util.spec_from_file_location("_cellmate", here / "__init__.py", submodule_search_locations=[str(here)])
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["_cellmate"] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    _load()
    role, *arguments = sys.argv[1:]
    importlib.import_module(f"_cellmate.{role}").main(arguments)
