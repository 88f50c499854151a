"""Compiled kernels in float32, for x86-64 processors: the steps of LSTMs, the character
CNN, the sampled softmax.

They are built with the package where there is a C++ compiler that knows vectors;
elsewhere, and for what they are not made for, PyTorch's operations compute the same
numbers. "Lanes": the floats of one of the processor's vectors.
"""

from .available import flags, lanes, why_absent

__all__ = ["flags", "lanes", "why_absent"]
