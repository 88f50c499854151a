"""Fuzz target: the reader "pipelines"."""

from fuzzing import fuzz

if __name__ == "__main__":
    fuzz("pipelines")
