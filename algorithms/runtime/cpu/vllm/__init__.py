"""verl's own vLLM rollout on a CPU build of vLLM, through verl's registries.

Importing this package imports neither vLLM nor verl: the plugin registers it by name.
"""
