"""Deterministic simulation of the product's own classes behind its four interfaces: one seed, one history.

disk.py     what is written, what is durable, and what a kill, a power cut or a full disk leaves
bus.py      lanes that are full, late, or lose one run of messages
market.py   what really happened at the venue
exchange.py the venue as its websocket and REST show it
parts.py    the product's classes, each as a process that can be killed
errands.py  compactor and validator, sent for one run at a time
world.py    a seed made into a history
verdict.py  what must hold afterwards
closed.py   what must hold of sealed hours and closed days
mutants.py  the safety rules, each switched off
"""
