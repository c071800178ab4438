"""`python start.py ROLE ARGUMENT…`: run that role's `main`.

A file of two lines, so that Python has compiled files for everything that is longer.
"""

import importlib
import sys

if __name__ == "__main__":
    importlib.import_module(sys.argv[1]).main(sys.argv[2:])
