"""`python -m keras_wsol` is `keras-wsol`, also where scripts are not on the path."""

import sys

from keras_wsol.cli import main

if __name__ == "__main__":
    sys.exit(main())
