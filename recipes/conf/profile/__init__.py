"""Machine profiles: cpu, gpu."""
