"""Plotly figures of transcripts and of the network's internals, for the app and the notebooks.

Backgrounds are transparent and lines grey, so that figures suit light and dark pages; colours can be told apart by
colour-blind readers. Long recordings are pooled to a few hundred columns.
"""

from .acoustics import acoustics_chart
from .attention import attention_map, attention_shares, head_maps, one_head, text_attention_map
from .beams import beam_tree
from .compare import quality_chart, speed_chart
from .fire import fire_chart
from .live import latency_chart
from .network import (
    acoustic_map,
    adapted_map,
    ctc_map,
    encoded_map,
    features_map,
    filterbank_map,
    first_token_bar,
    similarity_map,
    wave_chart,
)
from .recording import Sound, sound, stage_seconds, timeline, timings_bar
from .style import plain

__all__ = [
    "Sound",
    "acoustic_map",
    "acoustics_chart",
    "adapted_map",
    "attention_map",
    "attention_shares",
    "beam_tree",
    "ctc_map",
    "encoded_map",
    "features_map",
    "filterbank_map",
    "fire_chart",
    "first_token_bar",
    "head_maps",
    "latency_chart",
    "one_head",
    "plain",
    "quality_chart",
    "similarity_map",
    "sound",
    "speed_chart",
    "stage_seconds",
    "text_attention_map",
    "timeline",
    "timings_bar",
    "wave_chart",
]
