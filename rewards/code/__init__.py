"""The verifier `code`: programs judged by tests, in a sandbox."""
