"""Where the clients of a test connect to, and its messages on their way (SPEC 5.2, 5.4)."""
