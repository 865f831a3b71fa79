"""From a dataset's rows to what an adapter takes: pixels decoded once, frozen features computed once."""
