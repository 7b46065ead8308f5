"""Client protocols: how to subscribe, and how a server says that it holds."""
