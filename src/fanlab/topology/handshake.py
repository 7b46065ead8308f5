"""`python -m fanlab.topology.handshake ADDRESS PORT`: how many ns it takes to connect there, from where it runs."""

import socket
import sys
from typing import Final

from fanlab import clock

WITHIN_S: Final = 4.0


def main(argv: list[str]) -> int:
    """Print the time. A refusal is an answer, too: it has come from there."""
    began_ns = clock.now_ns()
    with socket.socket() as one:
        one.settimeout(WITHIN_S)
        try:
            one.connect((argv[0], int(argv[1])))
        except ConnectionRefusedError:
            pass
        except OSError as error:
            sys.stderr.write(f"no answer from {argv[0]}: {error}\n")
            return 1
        sys.stdout.write(f"{clock.now_ns() - began_ns}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
