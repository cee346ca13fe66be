"""监测 observatory: figures from the log, each with its entries; keeps nothing of its own."""
