"""How the network's operations are computed."""
