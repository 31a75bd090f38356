"""Tables, rows and keys on a database engine."""
