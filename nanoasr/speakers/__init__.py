"""Who spoke when: voices are embedded, clustered, and carried to segments and words.

`label(transcript, source)` labels a transcript, `diarize(source)` gives the turns alone, a `Diarizer` takes a recording
piece by piece, and a `SpeakerTracker` listens live.
"""

from .diarizer import MOST_SPEAKERS, Diarizer, diarize, label, speaker_count
from .embeddings import SpeakerModel, load_speaker_model
from .scoring import DiarizationError, diarization_error, read_rttm
from .tracker import SpeakerTracker
from .turns import Turn

__all__ = [
    "MOST_SPEAKERS",
    "DiarizationError",
    "Diarizer",
    "SpeakerModel",
    "SpeakerTracker",
    "Turn",
    "diarization_error",
    "diarize",
    "label",
    "load_speaker_model",
    "read_rttm",
    "speaker_count",
]
