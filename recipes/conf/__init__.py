"""Hydra configurations of the recipes."""
