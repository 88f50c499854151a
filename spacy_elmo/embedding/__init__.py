"""Text files -> vectors. Everything is streamed: memory does not grow with the text."""
