"""A stand-in for the exchange, for judging: documented websocket streams on one port, REST on another, faults on
request, and a ledger of everything issued and of everything sent to whom. It shares no code with the product.

market.py     what is traded; the ledger
frames.py     the documented JSON of each event, and what no exchange should ever send
peers.py      one connection: its subscriptions, its control messages
venue.py      the market's clock, who is sent what, how a connection lives
faults.py     what it does when told to
rest.py       the documented REST calls
bench.py      a stand-in with a mesh in a folder
scenarios.py  what is done to both
"""
