"""Drafts that are right with a given probability, for networks whose CTC branch knows nothing."""

import random
from collections.abc import Sequence

import numpy as np

from ..decode.request import Generated
from ..errors import OptionError
from ..families.base import DecodedSegment, SegmentJob
from ..families.nano import Encoded, NanoFamily


def give_drafts(family: NanoFamily, right: float) -> None:
    """Replace the texts of the CTC branch by the decoder's own, each of whose tokens is right with this probability.

    The CTC branch is run all the same. The decoder's text of a segment is learned when it is first decoded.
    """
    if family.ctc_tokens is None:
        raise OptionError(f"--draft {right:g} replaces the text of a CTC branch: this checkpoint has none")
    texts: dict[bytes, list[int]] = {}
    rng, finish, vocabulary = random.Random(0), family.finish, family.model.config.llm.vocab_size

    def learn(job: SegmentJob, encoded: Encoded, made: Generated) -> DecodedSegment:
        if encoded.ctc:
            texts[encoded.ctc.best.tobytes()] = list(made.ids)
        return finish(job, encoded, made)

    def draft(best: np.ndarray | None) -> Sequence[int]:
        ids = [] if best is None else texts.get(best.tobytes(), [])
        return [i if rng.random() < right else (i + 1 + rng.randrange(vocabulary - 1)) % vocabulary for i in ids]

    family.finish, family.ctc_text = learn, draft
