"""The roof: options, help and exit codes; a command body imports what it needs and calls it."""
