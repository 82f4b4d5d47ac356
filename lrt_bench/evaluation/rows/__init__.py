"""The rows of a pair: every control and every mapping, as the vectors that it steers with."""

from lrt_bench.evaluation.rows.base import Row
from lrt_bench.evaluation.rows.carried import transferred
from lrt_bench.evaluation.rows.controls import NativeSplit, Nothing, RandomDirections, controls
from lrt_bench.evaluation.rows.mapping_row import MappingRow, mapping_record, mapping_row

__all__ = [
    "MappingRow", "NativeSplit", "Nothing", "RandomDirections", "Row",
    "controls", "mapping_record", "mapping_row", "transferred",
]  # fmt: skip
