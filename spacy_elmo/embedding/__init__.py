"""Text files -> vectors, as streams: what is in memory does not grow with the text.
Needs the network and pretraining's readers of text."""
