"""What a file of weights is of: a known card, else a network that all of it fits."""
