"""From raw text to the batches that the network reads."""
