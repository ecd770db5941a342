"""Pictures from arrays: the only door to matplotlib."""
