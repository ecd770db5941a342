"""How an older database becomes this program's: one Alembic revision a schema, in `versions/`."""
