"""The judge: a lake on disk against a ledger of what a venue issued and sent, with no line of the product's code.

It reads text as text and numbers as `decimal`, makes its own bars, and says everything that differs.

ledger.py   what was issued, and on which connections it was sent
report.py   what was counted and what is wrong
archive.py  reads raw lines and feed
events.py   trades, quotes and aggregates of the archive against the ledger
bars.py     reads Parquet and compares it with bars of its own
feed.py     what was announced of gaps is what happened
verdict.py  all of it
lakes.py    two lakes of one recording, ticks, klines
"""
