"""Ways in and out: command line, HTTP, page, bytes, and the loops that deliver messages and run jobs."""
