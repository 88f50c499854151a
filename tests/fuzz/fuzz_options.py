"""Fuzz target: the reader "options"."""

from fuzzing import fuzz

if __name__ == "__main__":
    fuzz("options")
