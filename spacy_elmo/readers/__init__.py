"""Corpus readers, registered for [corpora] in a config. They only need spaCy."""
