"""What the quotes are kept and watched with: one of each, made together, shared by all layers."""

from __future__ import annotations

from dataclasses import dataclass

from dbservice.client import RetryPolicy, StorageClient
from dbservice.runtime.clock import Clock
from reference_plugin_quote_db import tracing
from reference_plugin_quote_db.bus import Bus
from reference_plugin_quote_db.drafts import Drafts
from reference_plugin_quote_db.events import Events
from reference_plugin_quote_db.metrics import Metrics
from reference_plugin_quote_db.moderation import Moderator
from reference_plugin_quote_db.observed import Observer
from reference_plugin_quote_db.parts.breaker import CircuitBreaker
from reference_plugin_quote_db.parts.cache import QuoteCache
from reference_plugin_quote_db.parts.guarded_bus import GuardedNats, is_failure
from reference_plugin_quote_db.parts.write_queue import WriteQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of one plugin. Each can be replaced by one that is made differently.

    Attributes:
        namespace: the plugin's name.
        nats: the way to the bus, behind the circuit breaker.
        storage: the storage client on it.
        direct: one without breaker and repeats, for questions about the service itself.
        clock: tells the time to all the others.
        breaker: stops asking a service that does not answer.
        cache: quotes that were read lately.
        queue: writes that wait for the service.
        drafts: makes rows.
        events: tells the world.
        observer: metrics, spans, failures in the log.
        moderator: cleans and judges texts.
    """

    namespace: str
    nats: GuardedNats
    storage: StorageClient
    direct: StorageClient
    clock: Clock
    breaker: CircuitBreaker
    cache: QuoteCache
    queue: WriteQueue
    drafts: Drafts
    events: Events
    observer: Observer
    moderator: Moderator


def assemble(
    nats_client: Bus,
    namespace: str,
    *,
    clock: Clock,
    retries: int | RetryPolicy,
    strict_authors: bool,
    moderator: Moderator | None,
) -> Parts:
    """Return the parts of a plugin, connected with each other."""
    traces = tracing.configured()
    breaker = CircuitBreaker(clock, counts=is_failure)
    nats = GuardedNats(nats_client, breaker, traces)
    return Parts(
        namespace=namespace,
        nats=nats,
        storage=StorageClient(nats, namespace, retries=retries),
        direct=StorageClient(nats_client, namespace),
        clock=clock,
        breaker=breaker,
        cache=QuoteCache(clock),
        queue=WriteQueue(breaker, clock),
        drafts=Drafts(clock, strict_authors=strict_authors),
        events=Events(nats_client, namespace),
        observer=Observer(Metrics(namespace), traces),
        moderator=moderator or Moderator(),
    )
