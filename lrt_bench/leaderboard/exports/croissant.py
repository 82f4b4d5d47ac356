"""`croissant.json`: the dataset's tables and columns in the Croissant vocabulary (MLCommons, version 1.0)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from lrt_bench._version import __version__
from lrt_bench.files.markdown import PAPER
from lrt_bench.leaderboard.exports.benchmark import DESCRIPTION

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
KINDS = {"string": "sc:Text", "int64": "sc:Integer", "double": "sc:Float", "bool": "sc:Boolean"}


def croissant(tables: dict[str, Path], descriptions: dict[str, str], repo: str, date: str) -> bytes:
    """Return the file for a dataset repository.

    Parameters
    ----------
    tables : name -> its parquet file, which lies at data/NAME.parquet in the repository.
    descriptions : name -> what a row is.
    repo : ORG/NAME on the Hub.
    date : of the newest result, as ISO 8601 writes it.
    """
    content = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "lrt-bench results",
        "description": DESCRIPTION,
        "url": f"https://huggingface.co/datasets/{repo}",
        "license": "https://spdx.org/licenses/Apache-2.0.html",
        "version": __version__,
        "datePublished": date[:10],
        "creator": {"@type": "sc:Organization", "name": "The lrt-bench maintainers"},
        "citeAs": f"lrt-bench {__version__}; it tests the hypothesis of Bello et al. 2025, {PAPER}",
        "distribution": [_file(name, path) for name, path in tables.items()],
        "recordSet": [_records(name, path, descriptions[name]) for name, path in tables.items()],
    }
    return json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"


def _file(name: str, path: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": f"{name}.parquet",
        "name": f"{name}.parquet",
        "contentUrl": f"data/{name}.parquet",
        "encodingFormat": "application/x-parquet",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def _records(name: str, path: Path, description: str) -> dict[str, Any]:
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(path)
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": description,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{column.name}",
                "name": column.name,
                "description": (column.metadata or {}).get(b"description", b"").decode() or column.name,
                "dataType": KINDS.get(str(column.type), "sc:Text"),
                "source": {
                    "fileObject": {"@id": f"{name}.parquet"},
                    "extract": {"column": column.name},
                },
            }
            for column in schema
        ],
    }
