"""Expressions: Python expressions over a record's fields, checked when the file is loaded, compiled once.

`arr_delay > 60 and dest in ("SEA", "PDX")`: names are the record's fields, `airport.lat` is the field `lat` of the
field `airport`, `record["a b"]` reaches names that are not identifiers, `headers.topic` is a header of the entry. A
text goes through these files in order: `template` (values of `${VAR}`), `parse` (text to tree), `check` (what is
allowed, which name is what, what needs a guard), `compiled` (one lambda, or one comprehension over a batch, so that an
expression costs what Python costs). What it may call is declared in `catalogue`; `bounds`, `loops`, `patterns` and
`times` keep that bounded in time and memory.
"""
