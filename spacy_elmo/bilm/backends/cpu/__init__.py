"""Compiled kernels for x86-64 processors: LSTMs, character CNN, sampled softmax.

They are built with the package where there is a C++ compiler that knows vectors;
elsewhere, and for what they are not made for, PyTorch's operations compute the same
numbers. All is in float32, but that products are formed in bfloat16 where this is asked
for and the processor has instructions for it. "Lanes": the floats of one of the
processor's vectors.
"""

from .available import flags, lanes, why_absent

__all__ = ["flags", "lanes", "why_absent"]
