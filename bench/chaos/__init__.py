"""Chaos on real processes: the emulator, a whole mesh, a ledger with four columns, and somebody who kills.

mesh.py       an emulator and a supervisor in a folder of their own
witness.py    reads the journal while it is written: what was received
ledger.py     issued, journaled, archived, in bars: lost, doubled, wrong
network.py    a TCP proxy that resets, stalls, slows and garbles
scenarios.py  kill, stall, full, network, midnight, twice, soak
"""
