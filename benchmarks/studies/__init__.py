"""Which recipe is best: lists of experiments on development data, and reports over their results."""
