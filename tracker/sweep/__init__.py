"""A study made to run: preflight, sources, workers, progress."""
