"""质量: profile, proposed rules, grade and dataset card of a registered version."""
