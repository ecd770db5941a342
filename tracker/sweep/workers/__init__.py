"""What runs in a worker process: take a cell, train it durably, settle it."""
