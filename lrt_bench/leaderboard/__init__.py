"""Results to pages: entries -> ledger -> rows -> views -> site; serve shows it on loopback."""
