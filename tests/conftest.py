"""One Hypothesis profile for every test: no time limits (a slow machine is not a defect), modest counts."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "dujiang", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("dujiang")
