"""`elmo explore`: pages on localhost. The modules that need FastAPI are imported by
the command."""
