"""Compiled kernels for x86-64 and 64-bit ARM: linear layers, LSTMs, character CNN,
softmax.

They are built with the package if there is a C++ compiler with vector extensions, GCC
or Clang. Everything is float32; matrix products may be in bfloat16, with rounded
operands on processors that do not multiply it natively. The environment variable
SPACY_ELMO_CPU limits the instruction set; see `instructions`.
"""

from .instructions import limited_to, selected, supported, why_absent

__all__ = ["limited_to", "selected", "supported", "why_absent"]
