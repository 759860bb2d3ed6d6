"""FunASR's times of CTC units for random log-probabilities, as `SenseVoiceSmall.inference` computes them.

Needs torch and funasr 1.4.16. Usage: make_ctc_times.py OUT.npz
"""

import sys
from itertools import groupby

import numpy as np
import torch
from funasr.models.sense_voice.utils.ctc_alignment import ctc_forced_align

FRAMES, VOCABULARY, CASES = 60, 12, 8


def times(logprobs: torch.Tensor, ids: list[int]) -> list[tuple[float, float]]:
    """The loop of `SenseVoiceSmall.inference`, for units that are known."""
    logprobs = logprobs.clone()
    logprobs[logprobs.argmax(-1) == 0, 0] = 0
    count = torch.tensor(len(logprobs)).long()
    aligned = ctc_forced_align(
        logprobs[None].float(), torch.tensor([ids]), count[None], torch.tensor([len(ids)]).long(), ignore_id=-1
    )
    start, found = 0, []
    for unit, run in groupby(aligned[0].tolist()):
        end = start + len(list(run))
        if unit != 0:
            found.append((max((start * 60 - 30) / 1000, 0), min((end * 60 - 30) / 1000, (FRAMES * 60 - 30) / 1000)))
        start = end
    return found


def main(out: str) -> None:
    """Write log-probabilities [CASES, FRAMES, VOCABULARY] and, as `case_i`, the units and times of each."""
    torch.manual_seed(7)
    all_logprobs = torch.log_softmax(3 * torch.randn(CASES, FRAMES, VOCABULARY) + torch.eye(VOCABULARY)[0] * 4, -1)
    content = {"logprobs": all_logprobs.numpy()}
    for i, logprobs in enumerate(all_logprobs):
        ids = [unit for unit, _ in groupby(logprobs.argmax(-1).tolist()) if unit]
        content[f"ids_{i}"], content[f"times_{i}"] = np.array(ids), np.array(times(logprobs, ids))
    np.savez_compressed(out, **content)


if __name__ == "__main__":
    main(sys.argv[1])
