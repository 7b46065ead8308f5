"""The second opinion: the ledger's counts and sets once more, in SQL, sharing no line of code with `fanlab.ledger`.

It imports nothing of fanlab, only the standard library; docs/crosscheck.md has its rules in prose.
"""
