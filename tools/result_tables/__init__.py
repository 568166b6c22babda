"""Tables of docs/results/, one module for each kind of benchmark."""

from result_tables import chemistry, method, noise, scans, speed

__all__ = ["TABLES"]

TABLES = {**chemistry.TABLES, **scans.TABLES, **method.TABLES, **noise.TABLES, **speed.TABLES}
