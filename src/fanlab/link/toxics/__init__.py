"""Toxics, one file each: what can be wrong with a network. The names are toxiproxy's where it has them.

To write one: a frozen dataclass that has the attributes as fields, checks them (`checks`), and makes a `Stage`
(`items`) for one direction of one connection, often a `Queued` that only says when things leave. Then a row in
`toxic.EFFECTS`. Time and randomness are handed in, so that tests need no clock. What every toxic owes is asked in
`tests/property/test_link_properties.py`: bytes come out in order, or never.
"""
