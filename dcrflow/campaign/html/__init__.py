"""The campaign report: one HTML page that needs nothing else, about a template store."""

from dcrflow.campaign.html.facts import campaign_facts
from dcrflow.campaign.html.page import write_report

__all__ = ["campaign_facts", "write_report"]
