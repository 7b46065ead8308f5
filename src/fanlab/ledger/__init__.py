"""The account of every delivery, from append-only journals."""
