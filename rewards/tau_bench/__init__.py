"""τ-bench (arXiv 2406.12045): its tools over its database, episodes, and their verifier."""
