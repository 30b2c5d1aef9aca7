"""What a run directory shows: a report, its figures, where it stands. Reads files, without owning a run or torch."""

from gaprune.views.live import LivePage, make_server
from gaprune.views.page import REPORT, report_page, write_report
from gaprune.views.record import read_record
from gaprune.views.run import Run
from gaprune.views.status import standing, status_lines

__all__ = [
    "REPORT",
    "LivePage",
    "Run",
    "make_server",
    "read_record",
    "report_page",
    "standing",
    "status_lines",
    "write_report",
]
