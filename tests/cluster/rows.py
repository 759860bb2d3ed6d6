"""Rows for comparison."""


def rounded(row: dict) -> dict:
    """Round confidences, whose last digits depend on what is decoded together."""
    words = [word for segment in row["segments"] or () for word in segment["words"]]
    for word in words:
        word["confidence"] = round(word["confidence"], 3)
    return row
