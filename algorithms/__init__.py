"""How a model learns from privileged information (PI).

Torch only: everything outside `algorithms.runtime` can be read, run and tested without verl.

* `divergence`: full-vocabulary KL family from hidden states, chunk by chunk
* `terms`: the three loss terms (policy gradient, distill, nll) over per-token tensors
* `advantages`: group-centred advantages, with the KL in the reward if asked for
* `views`: one trajectory seen twice, with PI and without, over the same response tokens

Shape suffixes on tensor names: `_B` sequences, `_T` positions, `_V` vocabulary, `_H` hidden,
`_N` the positions that are visited.
"""
