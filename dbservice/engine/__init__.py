"""How statements run: steps, dialects, and an engine for each database."""
