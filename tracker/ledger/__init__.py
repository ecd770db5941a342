"""The only door to Optuna and SQLAlchemy: which cell is whose, and what became of it."""
