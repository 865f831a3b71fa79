"""Training on all training images of a dataset: linear evaluation, and the tuners that episodes have, too."""
