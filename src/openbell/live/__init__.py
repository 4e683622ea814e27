"""Live sessions: what feeds send, taken in by one thread around the one engine."""
