"""The Rosey database service: storage for chat plugins, reached over NATS."""
