"""What happens inside a recognizer: its stages as arrays, attention, figures, and settings side by side."""
