"""Files of any kind: read and written whole, checked against a schema, found among the package's data.

No word of the field occurs here. Every other room may read this one.
"""
