"""How well a vector will steer after transfer, said before it is tried.

The forecast leans on points that were measured on the embedded family (`embedded_family.json`, written by
`python -m scripts.forecast.check`) and on concepts whose transfer is known.
"""
