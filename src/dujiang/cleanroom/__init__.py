"""可用不可见: questions over a table that nobody sees, with noise, a budget and a receipt."""
