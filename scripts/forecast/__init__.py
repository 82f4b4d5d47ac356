"""The forecast's check on the embedded family."""
