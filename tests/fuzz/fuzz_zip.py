"""Fuzz target: the reader "zip"."""

from fuzzing import fuzz

if __name__ == "__main__":
    fuzz("zip")
