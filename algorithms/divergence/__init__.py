"""Divergence between a student's and a teacher's next-token distributions, whole vocabulary.

p and q are the student's and the teacher's distributions at one position, softmax(z / temperature)
with z = hidden @ head.T. Nothing is truncated to a top-k. With d = log p - log q:

| kind         | value D                                   | dD / d(z / temperature)      |
|--------------|-------------------------------------------|------------------------------|
| `reverse_kl` | KL(p||q) = sum p d                        | p (d - KL)                   |
| `forward_kl` | KL(q||p) = -sum q d                       | p - q                        |
| `jsd`        | w KL(q||m) + (1-w) KL(p||m)               | (1-w) p (log(p/m) - KL(p||m)) |

where m = w q + (1-w) p. The teacher carries no gradient. Reverse KL toward the same model with
privileged information in its prompt is the distill term of OPSD (arXiv 2602.04942, Eq. 5), forward
KL that of pi-Distill's student objective (Eq. 3). JSD is that of GKD (arXiv 2306.13649).

`loss` has the public functions, `passes` the pass over the head, chunk by chunk, `softmax` what
happens to a chunk's logits, `kinds` the table above, `sampled` losses of the sampled tokens formed
in the same pass, `logits` what models do behind their head.
"""

from algorithms.divergence.kinds import KINDS
from algorithms.divergence.logits import PLAIN, LogitMap
from algorithms.divergence.loss import divergence_loss, sampled_token_loss
from algorithms.divergence.passes import DivergenceOutput
from algorithms.divergence.sampled import SampledTokens

__all__ = [
    "KINDS",
    "PLAIN",
    "DivergenceOutput",
    "LogitMap",
    "SampledTokens",
    "divergence_loss",
    "sampled_token_loss",
]
