"""Retry -> filter -> SFT: attempts at one task (the ladder), token budgets of the controls, and
which attempts are learnt from. Nothing here knows verl, a model or a verifier.
"""
