"""Adapts the build of the kernels, which pyproject.toml declares, to the platform.

Only GCC and Clang compile them. On Windows, and with SPACY_ELMO_KERNELS=0, the package
is built without them, as a wheel for any platform.
"""

import os
import sys

from setuptools import Distribution, setup
from setuptools.command.build_ext import build_ext

HAS_KERNELS = sys.platform != "win32" and os.environ.get("SPACY_ELMO_KERNELS") != "0"


class KernelDistribution(Distribution):
    def has_ext_modules(self):
        # An sdist has their sources in any case.
        return super().has_ext_modules() and (HAS_KERNELS or "sdist" in self.commands)


class BuildKernels(build_ext):
    def build_extensions(self):
        if sys.platform == "darwin":
            # Apple's Clang has no OpenMP.
            for extension in self.extensions:
                extension.extra_compile_args.remove("-fopenmp")
                extension.extra_link_args.remove("-fopenmp")
        super().build_extensions()


if not HAS_KERNELS:
    print(
        "Building without the compiled kernels, which need GCC or Clang: PyTorch "
        "computes the same."
    )
setup(cmdclass={"build_ext": BuildKernels}, distclass=KernelDistribution)
