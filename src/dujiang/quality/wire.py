"""A grading in foreign bytes: the text a store keeps, the dataset card (数据集卡片), the data contract (数据合同).

1. Card and contract name columns, kinds, scores and what looks wrong; they hold no value and no count of rows
   of the table. A contract repeats what its provider declared, so it is the provider's to publish.
2. Their words: MLCommons Croissant 1.1 with its RAI vocabulary and W3C DQV for the card, ODCS 3.1 for the contract.
3. Nothing is handed over: the file a card names is known by its hash, and asked under a contract.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from dujiang.identity.model import Organisation
from dujiang.kernel.shape import typed
from dujiang.quality.model import Demand, Graded, Metric, Public
from dujiang.quality.odcs import BOUNDS
from dujiang.registry import wire as registry_wire
from dujiang.registry.model import Kind, Version

CROISSANT = "http://mlcommons.org/croissant/1.1"
_CR = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field",
    "fileProperty", "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath",
    "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated", "replace",
    "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "dqv": "http://www.w3.org/ns/dqv#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{word: f"cr:{word}" for word in _CR},
}
"""The context of Croissant 1.1, with W3C DQV beside it."""
DIMENSIONS = "urn:gbt:36344-2018:"
ACCESS = "Rows are not handed over: questions are answered under a contract."
_TYPES = {
    Kind.integer: "sc:Integer",
    Kind.decimal: "sc:Float",
    Kind.text: "sc:Text",
    Kind.boolean: "sc:Boolean",
    Kind.date: "sc:Date",
    Kind.timestamp: "sc:DateTime",
}
_LOGICAL = {
    Kind.integer: "integer",
    Kind.decimal: "number",
    Kind.text: "string",
    Kind.boolean: "boolean",
    Kind.date: "date",
    Kind.timestamp: "timestamp",
}
_STANDARD = {
    Metric.nullValues: set[str](),
    Metric.missingValues: {"missingValues"},
    Metric.invalidValues: {"validValues", "pattern"},
    Metric.duplicateValues: {"properties"},
    Metric.rowCount: set[str](),
}
"""Metrics and arguments that ODCS 3.1 has; the others are written as a custom check of ours."""


def graded_text(graded: Graded) -> str:
    """The JSON a store keeps."""
    return msgspec.json.encode(graded).decode()


def graded_of(text: str) -> Graded:
    """The grading of its JSON."""
    return msgspec.json.decode(text.encode(), type=typed(Graded))


def card(version: Version, holder: Organisation, graded: Graded, public: Public) -> dict[str, Any]:
    """The dataset card of a graded version: a Croissant 1.1 document."""
    table, file = version.table, f"{version.id}.parquet"
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "@id": version.id,
        "conformsTo": CROISSANT,
        "name": version.title,
        "description": f"{version.title}. {ACCESS}",
        "url": f"urn:dujiang:{version.resource}:{version.id}",
        "identifier": version.registration,
        "version": f"{version.number}.0.0",
        "citeAs": f"{holder.name}: {version.title}, {version.registration}",
        "license": "Under a contract only; its terms are those of the offer.",
        "conditionsOfAccess": ACCESS,
        "creator": {"@type": "sc:Organization", "@id": holder.did, "name": holder.name},
        "datePublished": registry_wire.instant(version.created_ms),
        "isLiveDataset": False,
        "rai:personalSensitiveInformation": list(_personal(graded)),
        "rai:dataLimitations": list(dict.fromkeys(_limits(graded))),
        "dqv:hasQualityAnnotation": {
            "@id": f"{version.id}/grade", "grade": public.grade, "formula": public.formula,
            "rules": public.rules, "rulesDeclared": public.rules_declared, "rulesReplaced": public.rules_replaced,
            "dct:issued": registry_wire.instant(public.graded_ms),
        },
        "dqv:hasQualityMeasurement": [
            {
                "@id": f"{version.id}/{each.dimension.value}",
                "dqv:isMeasurementOf": DIMENSIONS + each.dimension.value, "dqv:value": each.percent,
            }
            for each in public.dimensions
            if each.percent is not None
        ],
        "distribution": [
            {
                "@type": "cr:FileObject", "@id": file, "name": file, "description": ACCESS,
                "contentUrl": file, "encodingFormat": "application/x-parquet", "sha256": version.sha256_plain,
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet", "@id": table.name, "name": table.name,
                "field": [
                    {
                        "@type": "cr:Field", "@id": f"{table.name}/{column.name}", "name": column.name,
                        "dataType": _TYPES[column.kind],
                        "source": {"fileObject": {"@id": file}, "extract": {"column": column.name}},
                    }
                    for column in table.columns
                ],
            }
        ],
    }  # fmt: skip


def contract(version: Version, graded: Graded, public: Public) -> dict[str, Any]:
    """The data contract of a graded version: an ODCS 3.1 document with the rules its provider declared."""
    checks: dict[str, list[dict[str, Any]]] = {}
    for demand in graded.demands:
        checks.setdefault(demand.property or "", []).append(_check(demand))
    properties: list[dict[str, Any]] = []
    for column in version.table.columns:
        made: dict[str, Any] = {"name": column.name, "logicalType": _LOGICAL[column.kind]}
        properties.append(made | ({"quality": checks[column.name]} if column.name in checks else {}))
    table: dict[str, Any] = {"name": version.table.name, "logicalType": "object", "properties": properties}
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": version.resource,
        "name": version.title,
        "version": f"{version.number}.0.0",
        "status": "active",
        "description": {"limitations": "; ".join(dict.fromkeys(_limits(graded))) or ACCESS, "usage": ACCESS},
        "schema": [table | ({"quality": checks[""]} if "" in checks else {})],
        "customProperties": [
            {"property": "registration", "value": version.registration},
            {"property": "sha256", "value": version.sha256_plain},
            {"property": "qualityGrade", "value": public.grade},
            {"property": "qualityFormula", "value": public.formula},
        ],
    }


def _check(demand: Demand) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.to_builtins(demand.arguments)
    arguments = {name: value for name, value in said.items() if value is not None}
    stated = {name: getattr(demand, name) for name in BOUNDS if getattr(demand, name) is not None}
    bound: dict[str, Any] = msgspec.to_builtins(stated) or {"mustBe": 0}
    rule = {"metric": demand.metric.value, **({"arguments": arguments} if arguments else {}), **bound}
    told = {"unit": demand.unit.value} | ({"description": demand.description} if demand.description else {})
    if arguments.keys() <= _STANDARD.get(demand.metric, {""}) and demand.metric in _STANDARD:
        return {"type": "library", **rule, **told}
    return {"type": "custom", "engine": "dujiang", "implementation": rule, **told}


def _personal(graded: Graded) -> Iterator[str]:
    for each in graded.personal:
        yield f"{each.column}: {each.personal.value}"
    yield f"{graded.classification.category.value}, {graded.classification.why}"


def _limits(graded: Graded) -> Iterator[str]:
    for each in graded.findings:
        yield f"{each.column}: {each.text}" if each.column else each.text
