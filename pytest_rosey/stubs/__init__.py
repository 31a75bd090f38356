"""Stand-ins for the database service: `fake_nats`, `mock_nats`, `make_nats_response` (SPEC 5.2)."""
