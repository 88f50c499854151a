"""Readers of annotated text for [corpora] in a config. Need spaCy alone."""
