"""Runs to leaderboard: tables in every format, and the history figure."""
