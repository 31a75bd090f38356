"""The pytest plugin of pytest-rosey."""
