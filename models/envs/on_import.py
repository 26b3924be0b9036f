"""Something to do once a package is imported, by whomever: so that nobody waits for one that is not used.

Importing Gymnasium and registering our tasks there takes a quarter of a second, which a command that only looks at the
suites' configs (`finetune --dry-run`) need not spend.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def when_imported(package: str, act: Callable[[], None]) -> None:
    """Call `act` at once where `package` is imported already, else at the end of its first import; once."""
    if sys.modules.get(package) is not None:
        act()
    else:
        sys.meta_path.insert(0, _Watch(package, act))


class _Watch(MetaPathFinder):
    """Finds nothing of its own: the package's own loader stays in its place, and tells when it has run."""

    def __init__(self, package: str, act: Callable[[], None]) -> None:
        self._package, self._act, self._asking = package, act, False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the other finders find of the package; whoever only asks where it is imports nothing."""
        if fullname != self._package or self._asking:
            return None
        self._asking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            self._tell(spec.loader)
        return spec

    def _tell(self, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                self._act()

        loader.exec_module = exec_module
