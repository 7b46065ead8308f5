"""How many examples property tests try: what a test asks for, times FANLAB_EXAMPLES (0.2 is quick, 10 is thorough)."""

import os


def examples(count: int) -> int:
    """As many as that, or more, or fewer, and at least one."""
    return max(1, round(count * float(os.environ.get("FANLAB_EXAMPLES", "1"))))
