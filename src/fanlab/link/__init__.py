"""The link: a TCP proxy between any two parts of a system, told over a Unix socket which network faults hold."""
