"""Venue adapters: one file a venue, pure: bytes and a receive time in, events out."""
