"""Start the browser app, as `nanoasr app` does: `python app.py`, then open the address that it prints."""

import sys

from nanoasr.cli import main

if __name__ == "__main__":
    sys.exit(main(["app", *sys.argv[1:]]))
