"""NATS servers for a test run: a binary, a container, or one that runs already.

Everything here is synchronous and needs the standard library only; Docker's packages are
imported when a container is really started.
"""

from pytest_rosey.servers.address import Address
from pytest_rosey.servers.errors import ServerControlError, ServerUnavailable
from pytest_rosey.servers.nats.banner import (
    Banner,
    BannerError,
    address_of,
    read_banner,
)
from pytest_rosey.servers.nats.binary import BinaryServer, find_binary
from pytest_rosey.servers.nats.choice import Choice, choose
from pytest_rosey.servers.nats.container import DEFAULT_IMAGE, ContainerServer
from pytest_rosey.servers.nats.provider import NatsServer, Provider
from pytest_rosey.servers.nats.url import UrlServer

__all__ = [
    "DEFAULT_IMAGE",
    "Address",
    "Banner",
    "BannerError",
    "BinaryServer",
    "Choice",
    "ContainerServer",
    "NatsServer",
    "Provider",
    "ServerControlError",
    "ServerUnavailable",
    "UrlServer",
    "address_of",
    "choose",
    "find_binary",
    "read_banner",
]
