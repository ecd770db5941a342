"""A look through a user's folder of images, before anything is trained on it."""
