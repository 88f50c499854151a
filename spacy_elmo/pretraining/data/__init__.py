"""From raw text to the batches that the network is trained on."""
