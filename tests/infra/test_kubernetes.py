"""The manifests are valid for Kubernetes and KubeRay, consistent with each other, and contain no secret."""

import copy
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator
from kuberay import SCHEMAS
from variables import ROOT

from infra.profile import Profile, load_profile
from olmo_core.recipe.recipe import load_recipe

FOLDER = ROOT / "infra" / "kubernetes"
VERSION = "1.37"
LOCKED = dict(re.findall(r"^(\S+)==(\S+)", (ROOT / "requirements.lock").read_text(), flags=re.M))

Manifest = dict[str, Any]


def read() -> dict[str, Manifest]:
    """Return every manifest by its kind."""
    found = [each for path in sorted(FOLDER.glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())]
    assert len({each["kind"] for each in found}) == len(found)
    return {each["kind"]: each for each in found}


MANIFESTS = read()


def templates(manifests: dict[str, Manifest]) -> dict[str, Manifest]:
    """Return the pod templates: of the head, of each group of workers, and of the submitter of the job."""
    cluster, job = manifests["RayCluster"]["spec"], manifests["RayJob"]["spec"]
    groups = {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    return {"head": cluster["headGroupSpec"]["template"], **groups, "submitter": job["submitterPodTemplate"]}


def invalid(manifests: dict[str, Manifest]) -> Iterator[str]:
    """Return violations of the schemas by the manifests and their pods, including unknown fields."""
    for manifest in manifests.values():
        if manifest["kind"] in SCHEMAS:
            validator = Draft202012Validator(SCHEMAS[manifest["kind"]])
            yield from (f"{manifest['kind']}: {error.message}" for error in validator.iter_errors(manifest))
        else:
            yield from refused(manifest)
    for name, template in templates(manifests).items():
        yield from refused({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, **template})


def refused(manifest: Manifest) -> Iterator[str]:
    try:
        kubernetes_validate.validate(manifest, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{manifest['kind']} {manifest['metadata']['name']}: {error.message}"


def careless(manifests: dict[str, Manifest]) -> Iterator[str]:
    """Return what the schemas allow and we do not: unpinned images, privileges, plain-text secrets, missing volumes."""
    for name, template in templates(manifests).items():
        spec = template["spec"]
        security = spec.get("securityContext", {})
        if not (security.get("runAsNonRoot") and security.get("runAsUser")):
            yield f"{name} may run as root"
        if spec.get("automountServiceAccountToken") is not False or any(
            spec.get(key) for key in ("hostNetwork", "hostPID")
        ):
            yield f"{name} sees the API server or the host"
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        for container in spec["containers"]:
            context = container.get("securityContext", {})
            if context.get("allowPrivilegeEscalation") is not False or context.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{name} has privileges"
            if not re.fullmatch(r"\S+:\d+\.\d+\.\d+", container["image"]):
                yield f"{name}: image {container['image']}"
            if not {"memory", "cpu"} <= container["resources"]["limits"].keys():
                yield f"{name} has no limits"
            if container["resources"]["limits"].get("memory") != container["resources"]["requests"].get("memory") and (
                name != "submitter"
            ):
                yield f"{name} may be evicted"
            yield from (
                f"{name}: {each['name']} is written down" for each in container.get("env", []) if "value" in each
            )
            missing = {mount["name"] for mount in container.get("volumeMounts", [])} - volumes
            yield from (f"{name} mounts {each}" for each in missing)
    if "Secret" in manifests:
        yield "a Secret is written down"
    if manifests["RayCluster"]["spec"].get("authOptions", {}).get("mode") != "token":
        yield "Ray asks for no token"


def profile(manifests: dict[str, Manifest]) -> Profile:
    (text,) = manifests["ConfigMap"]["data"].values()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cluster.yaml"
        path.write_text(text)
        return load_profile(str(path))


def recipe(manifests: dict[str, Manifest]) -> str:
    return str(manifests["RayJob"]["spec"]["entrypoint"].split()[2])


def divides(workers: int, batches: set[int]) -> bool:
    return all(batch % workers == 0 for batch in batches)


def misfits(manifests: dict[str, Manifest]) -> Iterator[str]:
    """Return disagreements between the manifests, the profile in them and the lock file."""
    cluster, training = manifests["RayCluster"]["spec"], profile(manifests).training
    if cluster["rayVersion"] != LOCKED["ray"]:
        yield f"rayVersion {cluster['rayVersion']}"
    if (
        len({container["image"] for each in templates(manifests).values() for container in each["spec"]["containers"]})
        != 1
    ):
        yield "images differ"
    (group,) = cluster["workerGroupSpecs"]
    if not group.get("minReplicas") == group["replicas"] == group.get("maxReplicas"):
        yield "replicas: nothing scales this cluster"
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    gpus = int(limits.get("nvidia.com/gpu", 0))
    total = group["replicas"] * gpus
    batches = {stage.batch_size for stage in load_recipe(recipe(manifests)).stages.values()}
    side_by_side = [n for n in range(1, total + 1) if 3 * n * training.seeds.gpus <= total and divides(n, batches)]
    if training.single.count * training.single.gpus != total or not divides(training.single.count, batches):
        yield f"single: {training.single.count} workers on {group['replicas']} x {gpus} GPUs"
    if [training.seeds.count] != side_by_side[-1:]:
        yield f"seeds: {training.seeds.count} workers, of {side_by_side} that would fit three times"
    for spec in (training.single, training.seeds):
        if spec.placement.device != "cuda" or gpus % spec.gpus:
            yield f"{spec} does not go onto nodes of {gpus} GPUs"
        # One logical CPU more than training uses: `tasks/workers/pool.py` requests it for every other step.
        if int(limits["cpu"]) < gpus / spec.gpus * spec.cpus + 1:
            yield f"cpu {limits['cpu']}"
    selected = manifests["RayJob"]["spec"].get("clusterSelector", {}).get("ray.io/cluster")
    policed = manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]["ray.io/cluster"]
    if {selected, policed} != {manifests["RayCluster"]["metadata"]["name"]}:
        yield f"cluster {selected}, {policed}"


def found(manifests: dict[str, Manifest]) -> list[str]:
    return [*invalid(manifests), *careless(manifests), *misfits(manifests)]


def test_manifests_pass_all_checks() -> None:
    assert found(MANIFESTS) == []


HEAD = "RayCluster.spec.headGroupSpec"
GPU = "RayCluster.spec.workerGroupSpecs.0"


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (f"{HEAD}.rayStartParam", {}, "rayStartParam"),
        (f"{HEAD}.rayStartParams.num-cpus", 0, "not of type 'string'"),
        (f"{HEAD}.serviceType", "LoadBalance", "LoadBalance"),
        (f"{GPU}.minReplicas", None, "minReplicas"),
        ("RayJob.spec.entryPoint", "olmo", "entryPoint"),
        ("RayJob.spec.rayClusterSpec", {"headGroupSpec": {"template": {"spec": {}}}}, "valid under each of"),
        ("RayJob.apiVersion", "ray.io/v1alpha1", "ray.io/v1"),
        (f"{GPU}.template.spec.toleration", [], "toleration"),
        (f"{GPU}.template.spec.containers.0.resources.limits.memory", [], "Pod gpu: [] is not valid"),
        (f"{HEAD}.template.spec.containers.0.envFrom.0.secretRef", "olmo", "olmo"),
        ("PersistentVolumeClaim.spec.accessMode", "ReadWriteOnce", "accessMode"),
        ("NetworkPolicy.spec.ingress.0.form", [], "form"),
        (f"{HEAD}.template.spec.securityContext.runAsNonRoot", False, "root"),
        (f"{HEAD}.template.spec.automountServiceAccountToken", True, "API server"),
        (f"{GPU}.template.spec.containers.0.image", "olmo-release:latest", "latest"),
        (f"{GPU}.template.spec.containers.0.securityContext.allowPrivilegeEscalation", True, "privileges"),
        (f"{GPU}.template.spec.containers.0.env", [{"name": "HF_TOKEN", "value": "hf_x"}], "written down"),
        (f"{GPU}.template.spec.volumes", [], "mounts home"),
        ("RayCluster.spec.authOptions.mode", "disabled", "no token"),
        ("RayCluster.spec.rayVersion", "2.59.0", "2.59.0"),
        (f"{GPU}.template.spec.containers.0.resources.limits", {"cpu": "72", "memory": "512Gi"}, "2 x 0"),
        (f"{GPU}.template.spec.containers.0.resources.limits.cpu", "64", "cpu 64"),
        (f"{GPU}.replicas", 3, "3 x 8"),
        ("RayJob.spec.clusterSelector.ray.io/cluster", "omlo", "omlo"),
        ("RayJob.spec.entrypoint", "olmo run tiny --profile /etc/olmo/cluster.yaml", "single: 16 workers"),
    ],
)
def test_error_in_manifest_is_found(where: str, value: object, message: str) -> None:
    broken = copy.deepcopy(MANIFESTS)
    at: Any = broken
    *path, last = re.sub(r"ray\.io/cluster$", "ray%io/cluster", where).split(".")
    for key in path:
        at = at[int(key)] if isinstance(at, list) else at[key]
    last = last.replace("%", ".")
    if value is None:
        del at[last]
    else:
        at[last] = value
    assert any(message in each for each in found(broken)), found(broken)


def test_job_runs_existing_recipe_with_mounted_profile() -> None:
    """The entry point is a valid `olmo` command."""
    words = MANIFESTS["RayJob"]["spec"]["entrypoint"].split()
    assert words[:2] == ["olmo", "run"] and words[3] == "--profile"
    load_recipe(recipe(MANIFESTS))
    (name,) = MANIFESTS["ConfigMap"]["data"]
    (mount,) = [
        mount["mountPath"]
        for mount in templates(MANIFESTS)["head"]["spec"]["containers"][0]["volumeMounts"]
        if mount["name"] == "profile"
    ]
    assert words[4] == f"{mount}/{name}"
    volume = templates(MANIFESTS)["head"]["spec"]["volumes"][0]
    assert volume["configMap"]["name"] == MANIFESTS["ConfigMap"]["metadata"]["name"]


def test_profile_stores_everything_off_the_nodes() -> None:
    """Pods are short-lived, so everything that a release makes must be stored elsewhere."""
    loaded = profile(MANIFESTS)
    assert loaded.store_root.startswith("s3://")
    assert loaded.ray.address == "auto"
    assert loaded.mlflow is not None and loaded.mlflow.startswith("https://")
    assert loaded.prefect is not None and loaded.prefect.startswith("https://")
    assert loaded.hub.endpoint is not None and loaded.hub.endpoint.startswith("https://")
    assert str(loaded.home) in {
        mount["mountPath"] for mount in templates(MANIFESTS)["head"]["spec"]["containers"][0]["volumeMounts"]
    }
