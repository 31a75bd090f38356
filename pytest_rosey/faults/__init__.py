"""Faults of the bus, the server and the service, injected on purpose (SPEC 5.4)."""
