"""Public libraries that connect to NATS by themselves, on the bus of a test (SPEC 5.1, 5.3).

They are not among the project's own requirements: `tox -e foreign` installs and runs them. Each
program runs on the in-process bus and on a real nats-server; one that asks for JetStream is told by
the in-process bus that it is not there, and is counted as skipped.
"""
