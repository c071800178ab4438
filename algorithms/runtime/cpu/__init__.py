"""verl on a machine without an accelerator: platform, training engine, rollout."""
