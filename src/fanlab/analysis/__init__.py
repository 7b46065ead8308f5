"""Pure functions from an account to figures and verdicts."""
