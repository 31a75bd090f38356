"""The real servers of a test run, NATS and PostgreSQL (SPEC 5.3).

Each kind has the same three homes: `binary` runs a program of this machine, `container` an image,
and `url` is a server that runs already. `docker_engine` and `docker_container` are what both kinds
of containers stand on, `ownership` sees to it that nothing outlives its run.
"""
