"""使用规则: usage terms, what they permit, and how they read and travel; pure, no store."""
