"""The fixture of the comparisons: real nats-servers beside the broker."""

from tests.dbservice.embedded.worlds import real_world

__all__ = ["real_world"]
