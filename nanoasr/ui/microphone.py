"""The microphone of the page: the browser collects sound until a request takes it along (static/microphone.js)."""

import base64
import binascii
from dataclasses import dataclass

import numpy as np

from ..errors import AudioError

LOWEST_RATE, HIGHEST_RATE = 8000, 192_000
START = "async (_, ...others) => [await nanoasr.microphone.start(), ...others]"
TAKE = "() => [nanoasr.microphone.take()]"
STOP = "async () => [await nanoasr.microphone.stop()]"
METER = (
    '<div class="level"><span>Level</span><div role="meter" aria-label="Level" aria-valuemin="-60" aria-valuemax="0" '
    'aria-valuenow="-60"><i></i></div><span>no sound</span></div>'
)


@dataclass(frozen=True, eq=False)
class Piece:
    """Sound as the page sends it: mono int16 `samples`, and how many samples came before them."""

    number: int
    rate: int
    offset: int
    samples: np.ndarray


def read_piece(text: str) -> Piece:
    """Parse "number;rate;offset;base64 of 16-bit samples"."""
    try:
        number, rate, offset, samples = text.split(";")
        piece = Piece(
            int(number), int(rate), int(offset), np.frombuffer(base64.b64decode(samples, validate=True), "<i2")
        )
        if piece.number < 0 or piece.offset < 0 or not LOWEST_RATE <= piece.rate <= HIGHEST_RATE:
            raise ValueError
        return piece
    except (ValueError, binascii.Error):
        raise AudioError("The page sent sound that cannot be read: reload it and try again.") from None
