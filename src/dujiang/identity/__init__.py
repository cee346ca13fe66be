"""身份: organisations, the people who act for them (经办人), their keys, roles and sessions."""
