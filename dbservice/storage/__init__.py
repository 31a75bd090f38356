"""Which statements an operation runs: keys, rows, queries, schemas."""
