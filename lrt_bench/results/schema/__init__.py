"""The record of a result file: its fields, their bounds, and what must agree with what."""
