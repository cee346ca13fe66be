"""登记: what a table is registered as, its certificate, and the files questions run on."""
