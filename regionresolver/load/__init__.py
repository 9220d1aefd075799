"""Load tests of a deployment: a plan in, a report out, with latencies that the generator cannot have caused itself.

>>> from regionresolver.load import Plan, run
>>> report = run(Plan("http://127.0.0.1:8080", rate=500, duration_s=10))      # doctest: +SKIP
>>> report.latency["p99"].us, report.verdict                                  # doctest: +SKIP
(412.7, 'ok')

The engine is `_fastpath.load_client`; what a report's members mean stands in docs/load.md.
"""

from regionresolver.load.ceiling import measure_ceiling
from regionresolver.load.floor import Floor
from regionresolver.load.plan import Mix, Plan, Target
from regionresolver.load.report import SCHEMA, Report
from regionresolver.load.run import run

__all__ = ["SCHEMA", "Floor", "Mix", "Plan", "Report", "Target", "measure_ceiling", "run"]
