"""Results: what decides an answer, what happened in every episode, the files that keep it, and statistics."""
