"""The reference suite: what every plugin on the storage service can be tested for."""
