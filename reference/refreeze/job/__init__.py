"""The main job, ``refreeze run``: fine-tune a model under a schedule, and report every segment."""
