"""What a bundle's manifest says about where it comes from, as lines to read. Every hash is in the manifest itself."""

from __future__ import annotations

from edgedistill.artifacts import Bundle
from edgedistill.bundle_manifest import Lineage, Origin


def lineage_of(bundle: Bundle) -> dict[str, str]:
    """`teacher: models/teacher, licence Apache-2.0, 18c593bf` and so on."""
    return lines_of(Lineage.model_validate(bundle.manifest()["lineage"]))


def lines_of(found: Lineage) -> dict[str, str]:
    """The same of a manifest that is read already."""
    return {
        "recipe": found.recipe,
        **({"teacher": _origin(found.teacher)} if found.teacher else {}),
        "student before tuning" if found.teacher else "student": _origin(found.student),
        **({"data": "; ".join(f"{data.task}, licence {data.licence}" for data in found.data)} if found.data else {}),
        **({"tuned by stage": found.tuned[:8]} if found.teacher else {}),
    }


def _origin(model: Origin) -> str:
    return f"{model.name}, licence {model.licence}, {model.sha256[:8] or 'weights not seen'}"
