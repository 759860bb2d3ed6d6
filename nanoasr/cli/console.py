"""Messages on stderr. Names of files and texts of checkpoints come from strangers: none may control the terminal."""

import sys

from tqdm import tqdm


def print_message(message: str) -> None:
    """Print one line on stderr, above a progress bar if there is one."""
    with tqdm.external_write_mode(file=sys.stderr):
        print(f"nanoasr: {printable_line(message)}", file=sys.stderr, flush=True)


def printable_line(text: str) -> str:
    """Return the text as one line without control characters: it can neither forge a line nor move the cursor."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(decode_name(text).split()))


def decode_name(text: str) -> str:
    """Decode a file name as UTF-8 even where the locale made Python read it as something else."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
