"""Everything that talks to verl: the plugin, the backends, workers and trainers.

Only this room of ``algorithms`` may import verl or ``rewards``; the mathematics next door must stay
importable without either.
"""
