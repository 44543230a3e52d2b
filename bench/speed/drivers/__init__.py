"""Other collectors, each the way its documentation shows, doing the same work on the same stream.

These scripts run in environments of their own and import nothing of this project but their neighbour `work`.
"""
