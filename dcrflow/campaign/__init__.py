"""Campaigns: many templates made with a dask client, a limited number at a time, each written when it is finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcrflow.base.lazy import lazy_names

if TYPE_CHECKING:
    from dcrflow.campaign.outcome import CampaignResult, Failure, Progress
    from dcrflow.campaign.run import run_campaign

__all__ = ["CampaignResult", "Failure", "Progress", "run_campaign"]

__getattr__ = lazy_names(
    __name__,
    {"dcrflow.campaign.outcome": ("CampaignResult", "Failure", "Progress"), "dcrflow.campaign.run": ("run_campaign",)},
)
