"""Toxics, one file each: what can be wrong with a network. The names are toxiproxy's where it has them."""
