"""Live transcription: sessions that take audio as it comes and commit words that hypotheses agree on."""
