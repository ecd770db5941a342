"""Runs, models and experiments on their way from one MLflow to another: read whole, written whole."""
