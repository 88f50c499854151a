"""Small models, corpora, runs and reference implementations shared by tests."""
