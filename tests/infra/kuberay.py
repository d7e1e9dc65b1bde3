"""The fields of KubeRay's resources, for a strict check without a cluster.

Neither kubeconform nor KubeRay's definitions are in a package registry, so the fields are written down here after the
API reference of KubeRay 1.6 (docs.ray.io, "KubeRay CRD API reference"): names and types of everything but pod
templates, which are checked as pods by Kubernetes' own schemas. A field that the reference does not know is an error,
as it is to `kubectl apply --validate=strict`.
"""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
SWITCH: Schema = {"type": "boolean"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
POD: Schema = {"type": "object", "required": ["spec"]}


def _object(required: list[str], **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _one_of(*values: str) -> Schema:
    return {"enum": list(values)}


_HEAD = _object(
    ["template"],
    template=POD,
    headService={"type": "object"},
    enableIngress=SWITCH,
    rayStartParams=TEXTS,
    resources=TEXTS,
    labels=TEXTS,
    serviceType=_one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
)

_WORKERS = _object(
    ["groupName", "template", "minReplicas", "maxReplicas"],
    groupName=TEXT,
    template=POD,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    idleTimeoutSeconds=COUNT,
    numOfHosts={"type": "integer", "minimum": 1},
    suspend=SWITCH,
    rayStartParams=TEXTS,
    resources=TEXTS,
    labels=TEXTS,
    scaleStrategy=_object([], workersToDelete={"type": "array", "items": TEXT}),
)

_CLUSTER = _object(
    ["headGroupSpec"],
    headGroupSpec=_HEAD,
    workerGroupSpecs={"type": "array", "items": _WORKERS},
    rayVersion=TEXT,
    suspend=SWITCH,
    managedBy=_one_of("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"),
    authOptions=_object([], mode=_one_of("disabled", "token"), secretName=TEXT, enableK8sTokenAuth=SWITCH),
    autoscalerOptions={"type": "object"},
    enableInTreeAutoscaling=SWITCH,
    gcsFaultToleranceOptions={"type": "object"},
    headServiceAnnotations=TEXTS,
    upgradeStrategy={"type": "object"},
)

_JOB = _object(
    ["entrypoint"],
    entrypoint=TEXT,
    rayClusterSpec=_CLUSTER,
    clusterSelector=TEXTS,
    submissionMode=_one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    submitterPodTemplate=POD,
    submitterConfig=_object([], backoffLimit=COUNT),
    runtimeEnvYAML=TEXT,
    metadata=TEXTS,
    jobId=TEXT,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    entrypointResources=TEXT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    backoffLimit=COUNT,
    ttlSecondsAfterFinished=COUNT,
    shutdownAfterJobFinishes=SWITCH,
    deletionStrategy={"type": "object"},
    suspend=SWITCH,
    managedBy=_one_of("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"),
)
# A job makes a cluster of its own or is given one that is there, never both.
_JOB["oneOf"] = [{"required": ["rayClusterSpec"]}, {"required": ["clusterSelector"]}]


def _resource(kind: str, spec: Schema) -> Schema:
    metadata = _object(["name"], name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS)
    head = {"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": kind}}
    return _object(["apiVersion", "kind", "metadata", "spec"], **head, metadata=metadata, spec=spec)


SCHEMAS = {kind: _resource(kind, spec) for kind, spec in (("RayCluster", _CLUSTER), ("RayJob", _JOB))}
