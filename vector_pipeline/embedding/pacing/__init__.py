"""Rate limits: what an account allows, and when the next request may be sent."""
