"""Adapters run over episodes, and classifiers fitted to all training images; metrics of both."""
