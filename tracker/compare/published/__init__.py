"""The reference study's published results through the code that users' studies go through, and what they can say."""
