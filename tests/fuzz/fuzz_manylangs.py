"""Fuzz target: the reader "manylangs"."""

from fuzzing import fuzz

if __name__ == "__main__":
    fuzz("manylangs")
