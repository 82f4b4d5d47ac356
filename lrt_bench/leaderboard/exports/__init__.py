"""The board in the forms of others: a benchmark's card on the Hub, Croissant, Every Eval Ever."""
