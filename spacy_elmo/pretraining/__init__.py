"""From raw text to a trained biLM. Needs the network and the weight formats; spaCy only
to tokenize text, so that a machine that is given ready shards needs none."""
