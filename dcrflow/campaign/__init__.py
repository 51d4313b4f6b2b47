"""Many templates on a dask client: a bounded window in flight, each written as it is finished, nothing lost."""

from dcrflow.campaign.outcome import CampaignResult, Failure, Progress
from dcrflow.campaign.run import run_campaign

__all__ = ["CampaignResult", "Failure", "Progress", "run_campaign"]
