"""Tests of `dbservice.bus`."""
