"""The SQL tier: one SELECT over a plugin's own tables (SPEC 3.8).

`query` checks a query and rewrites its names, and alone knows the SQL parser; `tier` runs it.
"""
