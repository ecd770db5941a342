"""How fast this machine trains, beside the reference study's way of doing it: `tracker bench`."""
