"""An existing SQLite database becomes migrations, and its rows an import."""
