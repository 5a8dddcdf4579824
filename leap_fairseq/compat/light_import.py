"""A first import of fairseq in half the time: without scikit-learn, scipy and pandas, and without garbage collection.

Two modules of fairseq import functions that only their own task and criterion call. While these modules are executed,
stand-ins take the place of the libraries; a function of a stand-in imports the library when it is called.
"""

import contextlib
import gc
import importlib
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, Optional, Sequence

POSTPONED = {
    "fairseq.criterions.sentence_prediction": ("sklearn", "sklearn.metrics", "scipy", "scipy.stats"),
    "fairseq.tasks.audio_classification": ("sklearn", "sklearn.metrics"),
}
"""What each of these modules shall not import yet; parents first. Of all of it, they use functions alone."""


@contextlib.contextmanager
def light_import() -> Iterator[None]:
    """Within it, an import of fairseq leaves out what is in `POSTPONED`; afterwards everything is imported as ever."""
    collecting = gc.isenabled()
    # Modules stay: looking through all their objects again and again finds nothing.
    gc.disable()
    sys.meta_path.insert(0, _Finder)
    try:
        yield
    finally:
        sys.meta_path.remove(_Finder)
        if collecting:
            gc.enable()


class _Finder:
    """Finds the modules of `POSTPONED`, for Python's import."""

    @staticmethod
    def find_spec(
        name: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        spec = PathFinder.find_spec(name, path, target) if name in POSTPONED else None
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Executes a module among stand-ins."""

    def exec_module(self, module: ModuleType) -> None:
        with _stand_ins(POSTPONED[module.__name__]):
            super().exec_module(module)


class _StandIn(ModuleType):
    """A module whose functions import the real one when they are called."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **options: getattr(importlib.import_module(self.__name__), name)(*args, **options)


@contextlib.contextmanager
def _stand_ins(names: Sequence[str]) -> Iterator[None]:
    """Puts stand-ins in the place of those modules that are not imported yet, and takes them away again."""
    made: Dict[str, ModuleType] = {name: _StandIn(name) for name in names if name not in sys.modules}
    for name, stand_in in made.items():
        parent, _, child = name.rpartition(".")
        if parent in made:
            setattr(made[parent], child, stand_in)
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            sys.modules.pop(name, None)
