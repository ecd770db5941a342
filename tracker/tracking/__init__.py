"""The only door to MLflow: the server, the runs, the journal, reading back."""
