"""What `deploy/` ships, asked of the programs that it is for: Helm, the parser of Compose, PromQL, systemd, and a root file system with nothing else in it.

They are built from source (Go) or are those of the machine, which `make test` does without: `make test-external`.
"""

import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import harness
import kubernetes_validate
import programs
import promql_parser
import pytest
import s3
import telemetry as otlp
import yaml
from harness import REPOSITORY, Server

DEPLOY = REPOSITORY / "deploy"
CHART = DEPLOY / "helm" / "assay"
KUBERNETES = ("1.25", "1.37")
EVERYTHING = "ingress.enabled=true,ingress.host=assay.example,ingress.tlsSecret=tls,serviceMonitor.enabled=true,bucket.url=s3://telemetry/assay"
EVERYTHING += ",bucket.existingSecret=bucket,image.tag=v1,env[0].name=ASSAY_LOG,env[0].value=debug,migrate=true,secretFiles=files,persistence.storageClass=fast"
EVERYTHING += ",accounts.url=postgres://assay@db.example/assay,accounts.existingSecret=postgres"


@pytest.fixture(scope="module")
def _helm():
    program = programs.from_go("helm.sh/helm/v3/cmd/helm", "v3.22.0")
    return lambda *arguments: subprocess.run([program, *arguments, CHART], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("size", ["", "small", "medium", "large"])
@pytest.mark.parametrize("more", ["", EVERYTHING], ids=["plain", "everything"])
def helm_renders_what_kubernetes_takes(_helm, size, more):
    objects = _rendered(_helm, size, more)
    expected = ["ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Service", "Service", "ServiceAccount", "StatefulSet"]
    assert sorted(found["kind"] for found in objects) == sorted(expected + (["Ingress", "ServiceMonitor"] if more else []))
    (pod,) = (found["spec"]["template"] for found in objects if found["kind"] == "StatefulSet")
    _check_pod(pod, bool(more))
    labels = pod["metadata"]["labels"].items()
    assert all(selector.items() <= labels for selector in _selectors(objects).values()), "every selector finds the pod"


@pytest.mark.parametrize("more", ["bucket.url=s3://telemetry/assay", EVERYTHING + ",nodes.queries.bucketSecret=readonly"], ids=["plain", "everything"])
def helm_renders_nodes_of_two_parts(_helm, more):
    objects = _rendered(_helm, "nodes", more)
    expected = ["ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "PodDisruptionBudget", "Service", "Service", "Service"]
    expected += ["ServiceAccount", "StatefulSet"] + (["Ingress", "ServiceMonitor"] if "ingress" in more else [])
    assert sorted(found["kind"] for found in objects) == sorted(expected)
    of_part = {found["kind"]: found["spec"] for found in objects if found["kind"] in ("StatefulSet", "Deployment")}
    collector, query = of_part["StatefulSet"], of_part["Deployment"]
    pods = [collector["template"], query["template"]]
    for pod, part, ports in zip(pods, ("collector", "query"), (["http", "otlp-grpc", "otlp-http"], ["http"])):
        _check_pod(pod, "existingSecret" in more)
        (container,) = pod["spec"]["containers"]
        assert container["args"] == [part] and [port["name"] for port in container["ports"]] == ports
    # A log of its own for each collector, none that stays for a query node.
    assert [claim["metadata"]["name"] for claim in collector["volumeClaimTemplates"]] == ["data"]
    assert [volume["emptyDir"] for volume in query["template"]["spec"]["volumes"] if volume["name"] == "data"] == [{"sizeLimit": "100Gi"}]
    labels = [pod["metadata"]["labels"] for pod in pods]
    found_by = {name: [selector.items() <= of.items() for of in labels] for name, selector in _selectors(objects).items()}
    both, of_collectors, of_queries = [True, True], [True, False], [False, True]
    assert found_by == {
        "NetworkPolicy release-assay": both,
        "PodDisruptionBudget release-assay-collector": of_collectors,
        "PodDisruptionBudget release-assay-query": of_queries,
        "Service release-assay-collector": of_collectors,
        "Service release-assay-headless": of_collectors,
        "Service release-assay-query": of_queries,
    }
    for of in (collector, query):
        selector = of["selector"]["matchLabels"].items()
        assert [selector <= of_pod.items() for of_pod in labels].count(True) == 1, "each has pods of its own"
    if "ingress" in more:
        (ingress,) = (found for found in objects if found["kind"] == "Ingress")
        assert ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] == "release-assay-query"
        secrets = ["secretKeyRef': {'name': '%s'" % name in str(pod) for name in ("bucket", "readonly") for pod in pods]
        assert secrets == [True, False, False, True], "a query node has a key of its own"
        assert ["PGPASSWORD" in str(pod) and "ASSAY_ACCOUNTS_URL" in str(pod) for pod in pods] == [False, True], "a collector needs no Postgres"


@pytest.mark.parametrize(
    "scheme, keys",
    [
        ("s3", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]),
        ("gs", ["GOOGLE_SERVICE_ACCOUNT_KEY"]),
        ("az", ["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"]),
    ],
)
def helm_asks_of_the_secret_what_the_service_of_the_bucket_wants(_helm, scheme, keys):
    objects = _rendered(_helm, "large", f"bucket.url={scheme}://telemetry/assay,bucket.existingSecret=bucket")
    (pod,) = (found["spec"]["template"]["spec"] for found in objects if found["kind"] == "StatefulSet")
    taken = [variable for variable in pod["containers"][0]["env"] if "valueFrom" in variable]
    assert [variable["name"] for variable in taken] == keys
    assert all(variable["valueFrom"]["secretKeyRef"] == {"name": "bucket", "key": variable["name"]} for variable in taken)


def helm_wants_a_bucket_or_clickhouse_for_nodes(_helm):
    refused = _helm("template", "release", "--kube-version", "1.33.0", "--set", "nodes.enabled=true")
    assert refused.returncode != 0 and "bucket.url: found nothing" in refused.stderr
    parts = [found["spec"]["template"]["spec"] for found in _rendered(_helm, "nodes", "migrate=true") if found["kind"] in ("StatefulSet", "Deployment")]
    # A query node may not make tables.
    assert {pod["containers"][0]["args"][0]: "initContainers" in pod for pod in parts} == {"collector": True, "query": False}


def _rendered(helm, size, more):
    """The objects of the chart, which Helm finds nothing to complain about in, nor Kubernetes."""
    arguments = (["--values", CHART / f"values-{size}.yaml"] if size else []) + (["--set", more] if more else [])
    linted = helm("lint", "--strict", "--quiet", *arguments)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    # A Helm that is built from source does not know which Kubernetes it is for.
    rendered = helm("template", "release", "--kube-version", "1.33.0", *arguments)
    assert rendered.returncode == 0, rendered.stderr
    objects = [found for found in yaml.safe_load_all(rendered.stdout) if found]
    for found in objects:
        if found["kind"] != "ServiceMonitor":
            for version in KUBERNETES:
                kubernetes_validate.validate(found, version, strict=True)
    names = [(found["kind"], found["metadata"]["name"]) for found in objects]
    assert len(set(names)) == len(names)
    return objects


def _selectors(objects):
    """What finds pods by labels, with the labels, by kind and name."""
    where = {"Service": ("selector",), "PodDisruptionBudget": ("selector", "matchLabels"), "NetworkPolicy": ("podSelector", "matchLabels")}
    found = {}
    for each in objects:
        if each["kind"] in where:
            selector = each["spec"]
            for key in where[each["kind"]]:
                selector = selector[key]
            found[f"{each['kind']} {each['metadata']['name']}"] = selector
    return found


def _check_pod(pod, has_secret):
    (container,) = pod["spec"]["containers"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"]["drop"] == ["ALL"] and container["resources"]["limits"]["memory"]
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()
    assert ("secretKeyRef" in str(container["env"])) == has_secret
    assert not [each for each in container["env"] if "SECRET" in each["name"] and "value" in each], "a secret by its value"


def helm_refuses_values_that_mean_nothing(_helm):
    wrongs = ("retenton=30d", "podDisruptionBudget.maxUnavailable=2", "bucket.url=telemetry", "resources.limits=null", "nodes.queries.replicas=0")
    for wrong in (*wrongs, "accounts.url=postgres://assay:secret@db.example/assay"):
        refused = _helm("template", "release", "--kube-version", "1.33.0", "--set", wrong)
        assert refused.returncode != 0 and "don't meet the specifications" in refused.stderr, (wrong, refused.stderr)


@pytest.mark.parametrize("name", ["single", "s3", "clickhouse", "nodes"])
def compose_takes_the_file(name, tmp_path):
    program = programs.from_go("github.com/compose-spec/compose-go/v2/cmd", "v2.16.2")
    parsed = subprocess.run([program, f"{name}.yaml"], cwd=DEPLOY / "compose", capture_output=True, text=True, timeout=60)
    assert parsed.returncode == 0, parsed.stderr
    written = yaml.safe_load((DEPLOY / "compose" / f"{name}.yaml").read_text())
    assert yaml.safe_load(parsed.stdout)["services"].keys() == written["services"].keys()


def prometheus_understands_the_alerts():
    groups = yaml.safe_load((DEPLOY / "prometheus" / "assay.rules.yaml").read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        promql_parser.parse(rule["expr"])
    with pytest.raises(ValueError):
        promql_parser.parse("assay_storage_wal_failed ==")


def systemd_takes_the_unit_and_finds_it_shut_in(tmp_path):
    text = (DEPLOY / "systemd" / "assay.service").read_text()
    unit = tmp_path / "assay.service"
    # Where the program is on this machine; nothing else differs.
    unit.write_text(text.replace("/usr/local/bin/assay", str(harness.binary())))
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    assert (verified.returncode, verified.stderr) == (0, "")
    for part in ("collector", "query"):
        drop_in = tmp_path / f"{part}.d" / "assay.service.d" / "part.conf"
        drop_in.parent.mkdir(parents=True)
        drop_in.write_text((DEPLOY / "systemd" / f"{part}.conf").read_text().replace("/usr/local/bin/assay", str(harness.binary())))
        (drop_in.parents[1] / "assay.service").write_text(unit.read_text())
        environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{drop_in.parents[1]}:"}
        shown = subprocess.run(["systemd-analyze", "verify", "--man=no", "assay.service"], env=environment, capture_output=True, text=True, timeout=60)
        assert (shown.returncode, shown.stderr) == (0, ""), part
    for name in ("assay-snapshot.service", "assay-snapshot.timer"):
        backup = (DEPLOY / "systemd" / name).read_text().replace("/usr/local/bin/assay-snapshot", str(DEPLOY / "backup" / "snapshot.sh"))
        (tmp_path / name).write_text(backup.replace("/usr/bin/rsync", "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", tmp_path / "assay-snapshot.service", tmp_path / "assay-snapshot.timer"]
    verified = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", unit], capture_output=True, text=True, timeout=60)
    assert rated.returncode == 0, rated.stdout[-300:]
    users = subprocess.run(["systemd-sysusers", "--dry-run", DEPLOY / "systemd" / "assay.sysusers.conf"], capture_output=True, text=True, timeout=60)
    assert users.returncode == 0, users.stderr


def the_system_calls_of_a_server_are_those_that_the_unit_allows(tmp_path):
    allowed = set(_system_calls("@system-service")) - set(_system_calls("@privileged"))
    trace = tmp_path / "trace"
    wrapped = tmp_path / "assay"
    wrapped.write_text(f'#!/bin/sh\nexec strace --follow-forks --summary-only --output={trace} --seccomp-bpf {harness.binary()} "$@"\n')
    wrapped.chmod(0o755)
    with Server(tmp_path / "data", executable=wrapped) as server:
        rng = otlp.seeded(61)
        server.send("traces", otlp.traces([otlp.chat(rng) for _ in range(20)]).SerializeToString())
        assert server.sql("SELECT count(*) AS n FROM spans") == [{"n": 20}]
        # The program below strace, which passes no signal on.
        (child,) = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGTERM)
        assert server.process.wait(timeout=60) == 0
    # SQLite calls `fchown` as root alone, and the unit has a user of its own.
    used = {line.split()[-1] for line in trace.read_text().splitlines() if re.match(r"\s*\d+\.\d+ ", line)} - {"total", "fchown"}
    assert len(used) > 20 and used <= allowed, f"used, and not allowed: {sorted(used - allowed)}"


def _system_calls(group):
    listed = subprocess.check_output(["systemd-analyze", "syscall-filter", group], text=True)
    for name in re.findall(r"^    (@?[a-z0-9_-]+)$", listed, re.MULTILINE):
        yield from _system_calls(name) if name.startswith("@") else [name]


def the_files_of_the_image_are_enough_to_serve_from_and_only_the_volume_is_written_to(tmp_path):
    assert os.geteuid() == 0, "found a user that may not mount, expected root"
    root, data = tmp_path / "root", tmp_path / "data"
    subprocess.run(["sh", "deploy/docker/rootfs.sh", harness.binary(), root], cwd=REPOSITORY, check=True)
    owners = {path.name for path in (root / "var" / "lib" / "dpkg" / "status.d").iterdir()}
    assert {"libc6", "ca-certificates"} <= owners
    data.mkdir()
    os.chown(data, 65532, 65532)
    for mounted in ("proc", "var/lib/assay"):
        (root / mounted).mkdir()
    ports = dict(zip(("ASSAY_HTTP", "ASSAY_OTLP_GRPC", "ASSAY_OTLP_HTTP"), s3.free_ports(3)))
    environment = {name: f"127.0.0.1:{port}" for name, port in ports.items()} | {"ASSAY_DATA_DIR": "/var/lib/assay"}
    # As a container engine does: read-only but for the volume, as its user, and as the first process, which no signal ends by default.
    script = f"""
        mount --bind {root} {root} && mount --bind {data} {root}/var/lib/assay && mount -t proc proc {root}/proc
        mount -o remount,ro,bind {root}
        chroot=$(command -v chroot)
        exec env -i {" ".join(f"{name}={value}" for name, value in environment.items())} $chroot --userspec=65532:65532 {root} /usr/bin/assay serve
    """
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", script]
    health = ["chroot", "--userspec=65532:65532", root, "/usr/bin/assay", "health", "--url", f"http://{environment['ASSAY_HTTP']}"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while subprocess.run(health, capture_output=True).returncode != 0:
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        body = otlp.traces([otlp.chat(otlp.seeded(62))]).SerializeToString()
        url = f"http://{environment['ASSAY_OTLP_HTTP']}/v1/traces"
        urllib.request.urlopen(urllib.request.Request(url, data=body, headers={"content-type": "application/x-protobuf"}), timeout=30)
        (first,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
        assert process.wait(timeout=60) == 0, (tmp_path / "log").read_text()
    finally:
        process.kill()
    assert "stopped" in (tmp_path / "log").read_text()
    assert {path.stat().st_uid for path in data.rglob("*")} == {65532}
    with Server(data) as server:
        assert server.sql("SELECT count(*) AS n FROM spans") == [{"n": 1}]
