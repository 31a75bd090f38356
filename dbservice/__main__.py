"""`python -m dbservice` is the `rosey` command."""

from dbservice.cli import main

main()
