"""Checks that a plugin gets without writing a test (SPEC 5.6).

`migrations` tries a plugin's migrations, `storage_access` reads its code, `collection` makes test
items of both, and `command` is `rosey check`.
"""
