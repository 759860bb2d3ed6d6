"""The browser app: one file a tab, over the public API only. `app.py` starts it."""
