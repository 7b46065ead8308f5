"""Summaries, charts and pages, made offline from a run directory."""
