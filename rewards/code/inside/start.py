"""`python start.py ROLE ARGUMENT…`: run that role's `main`.

A file of a few lines, so that Python has compiled files for everything that is longer.
"""

import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    role = __import__(f"inside.{sys.argv[1]}", fromlist=["main"])
    del sys.path[0]  # the program finds the standard library and nothing else
    role.main(sys.argv[2:])
