"""Parts of our own for norm-tracker: a model, a normalization and a kind of dataset."""
