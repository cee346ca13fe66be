"""What every package stands on: errors, acts, the writer, plugs, bytes, time, money; no domain word."""
