"""Says what is wrong with Kubernetes manifests: as JSON, the problems of each of the files that are named.

Pods by kubernetes-validate, strictly, for these releases of Kubernetes. PodMonitors by the models that cloudcoil generates
from the Prometheus Operator's CRD; those take unknown keys silently, so what they read is compared with what was there.
"""

import json
import sys

import kubernetes_validate
import yaml
from cloudcoil.models.prometheus_operator.v1 import PodMonitor
from pydantic import ValidationError

# The first with native sidecars on by default, the first where they are stable, the newest that the package knows.
RELEASES = ["1.29", "1.33", "1.37"]


def problems(document):
    if document["kind"] == "PodMonitor":
        try:
            read = PodMonitor.model_validate(document).model_dump(mode="json", by_alias=True, exclude_unset=True)
        except ValidationError as error:
            return [str(error)]
        return [] if read == document else [f"unknown keys: of {document} it read {read}"]
    found = []
    for release in RELEASES:
        try:
            kubernetes_validate.validate(document, release, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            found.append(f"{release}: {getattr(error, 'message', error)}")
    return found


def check(path):
    with open(path, encoding="utf-8") as file:
        documents = list(yaml.safe_load_all(file))
    found = [problem for document in documents for problem in problems(document)]
    return found if documents else ["there is nothing in it"]


print(json.dumps({path: check(path) for path in sys.argv[1:]}))
