"""存证: an append-only log of what was done, which anybody can check (RFC 6962 tree, signed notes)."""
