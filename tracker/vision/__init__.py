"""Images, their statistics, normalizations, augmentation, models and sources: torch without a tracker."""
