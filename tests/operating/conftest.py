"""What an operator has: a nats-server of their own, and the command line."""

from tests.dbservice.cli.conftest import own_server, rosey, start

__all__ = ["own_server", "rosey", "start"]
