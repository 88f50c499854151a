"""Thinc layers: docs -> layers -> vectors. They do not know the component."""
