"""Emulator: a venue on loopback that speaks the real protocol, for the demo, replay and tests."""
