"""Fuzz target: the reader "text"."""

from fuzzing import fuzz

if __name__ == "__main__":
    fuzz("text")
