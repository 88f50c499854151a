"""Fuzz target: the reader "checkpoints"."""

from fuzzing import fuzz

if __name__ == "__main__":
    fuzz("checkpoints")
