"""Batch scripts and measurements, not part of the package; run from the root of the repository."""
