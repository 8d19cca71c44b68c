"""The control plane: the store, the scheduler, the launchers and their instruments."""
