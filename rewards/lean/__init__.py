"""Lean 4 proofs: the verifier, its three backends and the installer of the embedded Lean."""
