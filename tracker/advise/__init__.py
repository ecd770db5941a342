"""Which normalization for a user's own images: a look through the folder, a short paired sweep, a recommendation."""
