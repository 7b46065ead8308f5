"""Clients and publishers: Locust as control plane, asyncio engines as data plane."""
