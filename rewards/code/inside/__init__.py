"""What runs in the sandbox: scripts of their own, started with this folder as their only path.

They import each other by bare names and the standard library alone, as little of it as will do,
since every answer pays for it. `start.py` runs one of `guest`, `examiner`, `program`.
"""
