"""Reports: what people look at at the end of a month, as a page and as tables (facts and pure rendering).

page.py    one HTML page, Chinese and English, that needs nothing from elsewhere
tables.py  the same rows as CSV files
"""

from parking_core.reports.facts import ChannelDay, LaneDay, OneDifference, Report

__all__ = ["ChannelDay", "LaneDay", "OneDifference", "Report"]
