"""Log-probabilities and entropies of words, and minimal pairs."""
