"""Fuzz target: the reader "safetensors"."""

from fuzzing import fuzz

if __name__ == "__main__":
    fuzz("safetensors")
