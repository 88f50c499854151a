"""Fuzz target: the reader "hdf5"."""

from fuzzing import fuzz

if __name__ == "__main__":
    fuzz("hdf5")
