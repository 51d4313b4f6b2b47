"""The report of DCR coadds: one HTML page that needs nothing else, about a DCR-coadd store."""

from dcrflow.campaign.coadd_report.facts import coadd_facts
from dcrflow.campaign.coadd_report.page import write_coadd_report

__all__ = ["coadd_facts", "write_coadd_report"]
