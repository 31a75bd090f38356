"""What SQL text may say: read, checked, and given the plugin's own names."""
