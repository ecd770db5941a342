"""What `tracker doctor` looks at: can this machine run a sweep, and if not, what would mend it."""
