"""The database service as tests see it: recorded, stopped, killed, made slow (SPEC 5.1, 5.4)."""
