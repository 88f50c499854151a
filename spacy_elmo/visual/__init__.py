"""Visualizers: `spacy_elmo.render`, and the pages of `elmo explore`."""
