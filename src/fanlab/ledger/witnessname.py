"""By what name Redis knows the witness, for those who need no more of it."""

from typing import Final

WITNESS_NAME: Final = "fanlab-witness"  # what CLIENT LIST shows: those who count subscribers leave it out
