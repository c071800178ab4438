"""``actor_rollout_ref.model.external_lib`` for CPU jobs: installs the training backend.

verl imports ``external_lib`` in every process that reads the model's configuration. Only training
workers (and the driver that defines them) have ``verl.workers.engine_workers`` loaded by then;
the others are spared the engine's imports.
"""

from __future__ import annotations

import sys

if "verl.workers.engine_workers" in sys.modules:
    from algorithms.runtime.cpu.engine import install_training_backend

    install_training_backend()
