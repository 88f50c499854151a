"""Fuzz target: the reader "shards"."""

from fuzzing import fuzz

if __name__ == "__main__":
    fuzz("shards")
