"""Corpus readers, registered for [corpora] in a config."""
