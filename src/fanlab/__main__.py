"""`python -m fanlab` is `fanlab`."""

from fanlab.cli import main

main()
