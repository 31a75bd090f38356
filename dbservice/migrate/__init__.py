"""Versioned SQL files: find, check, plan, run and record them (SPEC 4)."""

from dbservice.migrate.migrator import Migrator
from dbservice.migrate.roots import migration_roots, plugin_directory, plugins

__all__ = ["Migrator", "migration_roots", "plugin_directory", "plugins"]
