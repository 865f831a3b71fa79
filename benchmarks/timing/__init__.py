"""How fast, how exact and how large: engine, probes and store against the loops that everyone writes."""
