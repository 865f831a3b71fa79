"""Files of weights: read safely, their keys turned into those of a network, written anew for others."""
