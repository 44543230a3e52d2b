"""Proof and measurement: histories, kills, full disks and what they cost. Nothing of the product imports this."""
