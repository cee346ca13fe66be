"""A grading in its bytes: the text a store keeps, and the dataset card (数据集卡片) everybody may read.

1. The card names columns, kinds and scores; it holds no value, no bound and no count of rows.
2. Its words: schema.org and MLCommons Croissant for the dataset, W3C DQV for each measurement.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dujiang.quality.model import Graded, Public
from dujiang.registry import wire as registry_wire
from dujiang.registry.model import Kind, Version

CONTEXT = {
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dqv": "http://www.w3.org/ns/dqv#",
    "dct": "http://purl.org/dc/terms/",
}
DIMENSIONS = "urn:gbt:36344-2018:"
_TYPES = {
    Kind.integer: "Integer",
    Kind.decimal: "Float",
    Kind.text: "Text",
    Kind.boolean: "Boolean",
    Kind.date: "Date",
    Kind.timestamp: "DateTime",
}


def graded_text(graded: Graded) -> str:
    """The JSON a store keeps."""
    return msgspec.json.encode(graded).decode()


def graded_of(text: str) -> Graded:
    """The grading of its JSON."""
    return msgspec.json.decode(text.encode(), type=Graded)


def card(version: Version, public: Public) -> dict[str, Any]:
    """The dataset card of a graded version."""
    return {
        "@context": CONTEXT,
        "@type": "Dataset",
        "@id": version.id,
        "name": version.title,
        "identifier": version.registration,
        "version": str(version.number),
        "sha256": version.sha256_plain,
        "dateCreated": registry_wire.instant(version.created_ms),
        "cr:recordSet": {
            "@type": "cr:RecordSet",
            "name": version.table.name,
            "cr:field": [
                {"@type": "cr:Field", "name": column.name, "cr:dataType": _TYPES[column.kind]}
                for column in version.table.columns
            ],
        },
        "dqv:hasQualityAnnotation": {"grade": public.grade, "formula": public.formula},
        "dqv:hasQualityMeasurement": [
            {"dqv:isMeasurementOf": DIMENSIONS + each.dimension.value, "dqv:value": each.percent}
            for each in public.dimensions
            if each.percent is not None
        ],
        "dct:issued": registry_wire.instant(public.graded_ms),
    }
