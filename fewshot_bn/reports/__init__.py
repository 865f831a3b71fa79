"""From results to what a person looks at: tables and pictures."""
