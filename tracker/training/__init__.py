"""One cell end to end: build, the one loop, checkpoints. Knows no MLflow, no Optuna, no click."""
