"""Versioned SQL files: find, check, plan, run and record them (SPEC 4)."""
