"""Scenario files: what to start, load, break and judge."""
