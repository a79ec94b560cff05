"""Export and import: a log as lines of JSON that prove their own completeness."""

from eventstore.transfer.exporting import export_log, written_when_complete
from eventstore.transfer.importing import Conflict, ImportResult, import_log, seekable
from eventstore.transfer.lines import TransferProgress

__all__ = [
    "Conflict",
    "ImportResult",
    "TransferProgress",
    "export_log",
    "import_log",
    "seekable",
    "written_when_complete",
]
