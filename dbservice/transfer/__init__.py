"""A plugin's whole namespace: described, written out as JSON lines, and read in again (SPEC 2.1).

`lines` is the format, `layout` where the engines differ, `exporting` and `importing` the work.
"""

from dbservice.transfer.exporting import Exporter
from dbservice.transfer.importing import Importer

__all__ = ["Exporter", "Importer"]
