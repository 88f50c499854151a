"""Fuzz target: the reader "conll"."""

from fuzzing import fuzz

if __name__ == "__main__":
    fuzz("conll")
