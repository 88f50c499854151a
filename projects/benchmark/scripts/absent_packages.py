"""AllenNLP 2.10.1 beside today's packages: those that ELMo does not use stay absent."""

import importlib.abc
import importlib.machinery
import sys
import types
from typing import Any, Optional

# What AllenNLP imports on the way to its ELMo, which uses none of it. Their versions of
# its day do not install beside a current PyTorch.
ABSENT = (
    "_jsonnet",
    "cached_path",
    "fairscale",
    "huggingface_hub",
    "lmdb",
    "nltk",
    "spacy",
    "torchvision",
    "transformers",
)


class _Stub(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        """A class of this name: most are inherited from, or named in annotations."""
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class _Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        if name.partition(".")[0] not in ABSENT:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Stub(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        if module.__name__ == "cached_path":
            # Files are given by their paths.
            module.cached_path = lambda path, *_, **__: path  # type: ignore


def stand_in() -> None:
    """Answer imports of absent packages. The finder is the last one: a package that is
    there is imported as ever."""
    sys.meta_path.append(_Stubs())
