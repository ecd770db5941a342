"""The local MLflow server: one for each home, shared by every command that needs it."""
