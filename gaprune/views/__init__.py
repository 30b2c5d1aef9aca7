"""What a run directory shows: a report, its figures, where it stands. Reads files, without owning a run or torch."""

from gaprune.views.page import REPORT, check_output, read_all, report_page, write_report
from gaprune.views.run import Run

__all__ = ["REPORT", "Run", "check_output", "read_all", "report_page", "write_report"]
