"""The chat: what users type, what is done about it, and how both travel."""
