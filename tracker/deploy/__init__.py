"""A study's winner carried away: exported with its resize and normalization inside, and predicted with."""
