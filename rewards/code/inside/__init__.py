"""What runs in the sandbox: `start.py` with one of the roles `guest`, `examiner`, `program`.

These files are all of this package that is seen there, so they import each other and the standard
library, as little of it as will do: every answer pays for it.
"""
