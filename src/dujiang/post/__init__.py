"""邮驿: signed messages between organisations: an outbox, and what was already heard; no network of its own."""
