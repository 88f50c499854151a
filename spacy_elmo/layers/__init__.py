"""Thinc models: docs -> layers, the mix, the listener. Knows the network and the weight
formats, not the component."""
