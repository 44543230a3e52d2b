"""How fast the mesh is beside its peers: one load, one yardstick, ratios measured side by side in one run.

`load` plays a made market over websocket and REST on the loopback; `yardstick` runs the whole product against it and
holds the lake against what the market knows; `peers` runs other collectors on the very same stream.
"""
