"""A study's report: its tables, figures and circumstances, out of one command and in every format."""
