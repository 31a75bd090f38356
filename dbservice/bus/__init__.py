"""The NATS bus as bytes: frames, and a connection that survives whatever comes over it."""
