"""Keep what was measured for years: back up, restore, clean up, move to another server."""
