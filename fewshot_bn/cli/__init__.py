"""The command line: options, notes, progress bars and tables. The only place that prints."""
