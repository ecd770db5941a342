"""Differences and how sure they are: intervals, tests and verdicts over plain numbers."""
