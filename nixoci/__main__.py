"""`python -m nixoci`."""

from nixoci.cli import main

main()
