"""Optional parts, one idea a file. None of them knows the plugin."""
