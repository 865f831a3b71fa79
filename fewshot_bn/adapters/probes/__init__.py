"""Probes: classifiers on frozen features, solved for many episodes at once."""
