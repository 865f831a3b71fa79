"""Cards of checkpoints: what a file is, where it comes from, how its keys become a network's. Quick to import."""
