"""Searches in a row: one machine, and two policies for it.

The paper's rounds (``RoundsPolicy``), and search, recover, search again (``IterationsPolicy``). ``run_campaign`` runs
either.
"""

from gaprune.campaigns.campaign import run_campaign
from gaprune.campaigns.iterations import IterationsPolicy
from gaprune.campaigns.rounds import RoundsPolicy

__all__ = ["IterationsPolicy", "RoundsPolicy", "run_campaign"]
