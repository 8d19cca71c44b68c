"""The manifests of k8s/: valid for the Kubernetes API, consistent with one another and with the server's settings."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from gradloom import __version__
from gradloom.settings import Settings
from tests.kubernetes.render import Object, identity, render

ROOT = Path(__file__).parents[1]
SINGLE = ROOT / "k8s/overlays/single"
SCHEMAS = json.loads((ROOT / "tests/kubernetes/schemas-1.37.json").read_text())


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    return render(SINGLE)


@pytest.fixture(scope="module")
def deployment(objects: list[Object]) -> Object:
    return the(objects, "Deployment")


@pytest.fixture(scope="module")
def pod(deployment: Object) -> Object:
    return deployment["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def server(pod: Object) -> Object:
    (container,) = pod["containers"]
    return container


@pytest.fixture(scope="module")
def environment(server: Object) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in server["env"]}


def the(objects: list[Object], kind: str) -> Object:
    (found,) = [each for each in objects if each["kind"] == kind]
    return found


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)s", text)
    assert match, text
    return float(match[1])


def test_every_object_is_valid_for_the_kubernetes_api(objects: list[Object]) -> None:
    for found in objects:
        schema = {"$ref": SCHEMAS["kinds"][found["kind"]], "$defs": SCHEMAS["$defs"]}
        faults = [
            f"{'/'.join(identity(found))} {fault.json_path}: {fault.message}"
            for fault in jsonschema.Draft7Validator(schema).iter_errors(found)
        ]
        assert not faults


def test_the_schemas_refuse_an_unknown_field_and_a_wrong_type(objects: list[Object]) -> None:
    schema = {"$ref": SCHEMAS["kinds"]["Deployment"], "$defs": SCHEMAS["$defs"]}
    for path, value in ((("spec", "replica"), 1), (("spec", "replicas"), "one")):
        wrong = json.loads(json.dumps(the(objects, "Deployment")))
        wrong[path[0]][path[1]] = value
        assert not jsonschema.Draft7Validator(schema).is_valid(wrong)


@pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="no kubectl on this machine; the rendering here stands alone"
)
def test_kubectl_renders_the_same_objects(objects: list[Object]) -> None:
    text = subprocess.run(["kubectl", "kustomize", SINGLE], check=True, capture_output=True, text=True).stdout
    rendered = {identity(each): each for each in YAML(typ="safe").load_all(text)}
    assert rendered == {identity(each): each for each in objects}


def test_no_two_objects_share_kind_and_name(objects: list[Object]) -> None:
    identities = [identity(each) for each in objects]
    assert len(set(identities)) == len(identities)


def test_every_object_lies_in_the_namespace_that_is_created(objects: list[Object]) -> None:
    namespace = the(objects, "Namespace")["metadata"]["name"]
    assert {each["metadata"]["namespace"] for each in objects if each["kind"] != "Namespace"} == {namespace}


def test_the_deployment_selects_its_own_pods(deployment: Object) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert selects(deployment["spec"]["selector"]["matchLabels"], labels)


def test_services_and_policy_select_the_servers_pods_and_name_its_ports(
    objects: list[Object], deployment: Object, server: Object
) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    services = [each for each in objects if each["kind"] == "Service"]
    assert {port["name"] for service in services for port in service["spec"]["ports"]} == {"grpc", "metrics"}
    for service in services:
        assert selects(service["spec"]["selector"], labels)
        for port in service["spec"]["ports"]:
            assert port["port"] == ports[port["targetPort"]]
    policy = the(objects, "NetworkPolicy")
    assert selects(policy["spec"]["podSelector"]["matchLabels"], labels)
    assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} <= ports.keys()
    assert all(rule["from"] for rule in policy["spec"]["ingress"])


def test_every_mount_has_a_volume_and_every_volume_is_mounted(
    objects: list[Object], pod: Object, server: Object
) -> None:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in server["volumeMounts"]} == volumes.keys()
    claim = volumes["data"]["persistentVolumeClaim"]["claimName"]
    assert claim == the(objects, "PersistentVolumeClaim")["metadata"]["name"]


def test_the_pod_runs_as_a_service_account_without_a_token(objects: list[Object], pod: Object) -> None:
    account = the(objects, "ServiceAccount")
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    assert account["automountServiceAccountToken"] is False
    assert pod["automountServiceAccountToken"] is False


def test_the_pod_meets_the_restricted_standard_that_its_namespace_enforces(
    objects: list[Object], pod: Object, server: Object
) -> None:
    assert the(objects, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert server["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert all({"persistentVolumeClaim", "emptyDir"} & volume.keys() for volume in pod["volumes"])


def test_one_server_runs_at_a_time(deployment: Object) -> None:
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_the_server_takes_the_settings_of_the_pod_and_probes_its_health_listener(
    environment: dict[str, str], server: Object
) -> None:
    settings = Settings.load(environment=environment)
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert settings.listen.endswith(f":{ports['grpc']}")
    assert settings.metrics_listen.endswith(f":{ports['metrics']}")
    assert settings.health_listen.endswith(f":{ports['health']}")
    assert settings.launcher == "local"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["grpc"]["port"] == ports["health"]


def test_only_an_explicit_acceptance_opens_the_server_beyond_loopback(environment: dict[str, str]) -> None:
    (base,) = [each for each in render(ROOT / "k8s/base") if each["kind"] == "Deployment"]
    names = {variable["name"] for variable in base["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert "GRADLOOM_I_ACCEPT_UNAUTHENTICATED_ACCESS" not in names
    assert environment["GRADLOOM_I_ACCEPT_UNAUTHENTICATED_ACCESS"] == "true"


def test_the_grace_period_is_longer_than_the_drain_and_so_is_the_liveness_probe(
    pod: Object, server: Object, environment: dict[str, str]
) -> None:
    drain = seconds(environment["GRADLOOM_DRAIN_TIMEOUT"])
    assert pod["terminationGracePeriodSeconds"] >= drain + 15
    assert server["livenessProbe"]["periodSeconds"] * server["livenessProbe"]["failureThreshold"] > drain


def test_the_variables_that_kubernetes_makes_of_services_do_not_pass_for_settings(pod: Object) -> None:
    assert pod["enableServiceLinks"] is False


def test_the_data_lies_where_the_volume_is_mounted(server: Object, environment: dict[str, str]) -> None:
    mounts = {mount["name"]: mount["mountPath"] for mount in server["volumeMounts"]}
    assert environment["GRADLOOM_DATA_DIR"] == mounts["data"]
    assert mounts["tmp"] == "/tmp"


def test_cpu_and_memory_are_requested_and_limited(server: Object) -> None:
    for kind in ("requests", "limits"):
        assert {"cpu", "memory"} <= server["resources"][kind].keys()


def test_the_image_of_the_manifests_is_the_one_that_the_dockerfile_makes(server: Object) -> None:
    assert server["image"] == f"gradloom:{__version__}"
    dockerfile = (ROOT / "docker/Dockerfile").read_text()
    assert f"--tag gradloom:{__version__} " in dockerfile
    assert "USER 10001:10001" in dockerfile


def instructions() -> list[list[str]]:
    """The Dockerfile's instructions, continued lines joined."""
    text = re.sub(r"\\\n", " ", (ROOT / "docker/Dockerfile").read_text())
    return [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]


def test_the_image_starts_an_init_that_passes_signals_to_the_server() -> None:
    last: dict[str, Any] = {name: rest for name, rest in instructions()}
    assert json.loads(last["ENTRYPOINT"]) == ["/usr/bin/tini", "--", "gradloom"]
    assert json.loads(last["CMD"]) == ["serve"]
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert "gradloom.api.probe" in last["HEALTHCHECK"]
    assert last["USER"] == "10001:10001"


def test_the_settings_of_the_image_keep_the_server_on_loopback() -> None:
    (variables,) = [rest for name, rest in instructions() if name == "ENV" and "GRADLOOM_DATA_DIR" in rest]
    environment = dict(re.findall(r"(GRADLOOM_\w+)=(\S+)", variables))
    assert Settings.load(environment=environment).listen == "127.0.0.1:50051"
