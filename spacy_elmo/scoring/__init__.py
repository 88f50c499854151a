"""What the language model says about words: log-probabilities, entropy, pairs."""
