"""fanlab: which message reached which client, how late, and when one did not, where was it lost and why."""

__version__ = "0.1.0"
