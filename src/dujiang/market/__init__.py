"""价值: quotes, allowances, bills, settlement and refunds, kept as double entry."""
