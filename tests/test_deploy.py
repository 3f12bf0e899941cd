"""What `deploy/` ships fits together and fits Assay: files that the image is made of, names of settings, memory, secrets, a bucket that works.

Whether other people's programs take it (Helm, Compose, systemd) is asked in `tests/external`, which needs them.
"""

import fnmatch
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import clickhouse_server
import harness
import pytest
import s3
import telemetry as otlp
import yaml
from harness import REPOSITORY, Refused, Server

DEPLOY = REPOSITORY / "deploy"
CHART = DEPLOY / "helm" / "assay"
COMPOSE = ("single", "s3", "clickhouse", "nodes")
SIZES = ("small", "medium", "large")
PARTS = ("collector", "query")
# Memory beyond what the configuration counts (allocator, decoding, encoding, indexes of files), as measured at full load: see "Sizing".
UNCOUNTED_BYTES = 800 << 20
UNITS = {"": 1, "k": 10**3, "ki": 1 << 10, "m": 1 << 20, "mi": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gi": 1 << 30, "gib": 1 << 30}


def _bytes(text):
    number, unit = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", str(text)).groups()
    return int(number) * UNITS[unit.lower()]


def _compose(name):
    return yaml.safe_load((DEPLOY / "compose" / f"{name}.yaml").read_text())


def _assays(composed):
    """The services of a compose file that go on running Assay, by name."""
    return {name: service for name, service in composed["services"].items() if "ASSAY_IMAGE" in service["image"] and service["restart"] != "no"}


def _values(size=None):
    """The values of a size, over those of the chart."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    return _merged(values, yaml.safe_load((CHART / f"values-{size}.yaml").read_text())) if size else values


def _merged(below, above):
    both = {key: _merged(below[key], above[key]) if isinstance(below.get(key), dict) else above[key] for key in above}
    return {**below, **both}


def _instructions(dockerfile):
    """(name, arguments) of each instruction, with continued lines joined."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(" ", 1)) for line in joined.splitlines() if line]


def _ignored(path, rules):
    """As .dockerignore has it: of the rules that concern a path or a folder above it, the last decides."""
    ignored = False
    for rule in rules:
        pattern = rule.removeprefix("!")
        if any(fnmatch.fnmatchcase("/".join(path.split("/")[: n + 1]), pattern) for n in range(path.count("/") + 1)):
            ignored = not rule.startswith("!")
    return ignored


def _context():
    """Files of the checkout that reach the build of the image."""
    rules = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    listed = subprocess.check_output(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=REPOSITORY, text=True)
    return [path for path in listed.splitlines() if (REPOSITORY / path).is_file() and not _ignored(path, rules)]


def the_image_is_made_of_what_cargo_and_vite_need_and_of_nothing_else(tmp_path):
    context, used = _context(), set()
    for name, arguments in _instructions(DEPLOY / "docker" / "Dockerfile"):
        if name != "COPY" or arguments.startswith("--from"):
            continue
        *sources, to = arguments.split()
        for source in sources:
            found = [path for path in context if path == source or path.startswith(source.rstrip("/") + "/")]
            assert found, f"COPY {source}: nothing of that name reaches the build"
            used.update(found)
            # Everything lies where it lies in the checkout; the stage of the UI has that folder as its own.
            assert to in ("./", source) or source.endswith(to), f"COPY {arguments}"
            for path in found:
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(REPOSITORY / path, tmp_path / path)
    assert set(context) - used == set(), "reaches the build, and is not used"
    # Cargo knows all it builds, and every file that sources include is there.
    command = ["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]
    packages = json.loads(subprocess.check_output(command, cwd=tmp_path))["packages"]
    targets = [Path(target["src_path"]) for package in packages for target in package["targets"]]
    assert len(targets) > 5 and all(path.is_relative_to(tmp_path) and path.exists() for path in targets)
    included = [
        (source, source.parent / name)
        for source in tmp_path.rglob("*.rs")
        if "fuzz" not in source.parts
        for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', source.read_text())
    ]
    assert included and [str(source) for source, path in included if not path.exists()] == []
    scripts = json.loads((tmp_path / "ui" / "package.json").read_text())["scripts"]["build"]
    assert all((tmp_path / "ui" / script).exists() for script in re.findall(r"node (\S+)", scripts))


def a_health_check_tells_alive_from_ready_and_from_gone(tmp_path):
    def health(server, *more):
        done = server.cli("health", *more, check=False)
        return done.returncode, done.stderr.decode()

    # So much disk is never free: senders are told to wait, and nothing else is wrong.
    server = Server(tmp_path / "data", '[storage]\ndisk_free_min = "1000000GiB"\n')
    with pytest.raises(Refused):
        server.start()
    assert health(server) == (0, "")
    status, message = health(server, "--ready")
    assert status == 1 and "/readyz` answered 503" in message
    server.stop()
    server.configure("")
    with server:
        assert health(server, "--ready") == (0, "")
    status, message = health(server)
    assert status == 1 and "no answer from" in message


def _set_in(text):
    return set(re.findall(r"\bASSAY_[A-Z_]+", text))


def every_variable_that_is_set_is_one_that_assay_knows():
    page = subprocess.check_output([harness.binary(), "serve", "--help"], text=True)
    known = _set_in(page) | {"ASSAY_LOG"}
    documented = (REPOSITORY / "docs" / "configuration.md").read_text()
    images = {
        variable
        for name, arguments in _instructions(DEPLOY / "docker" / "Dockerfile")
        if name == "ENV"
        for variable in re.findall(r"(\w+)=", arguments)
    }
    services = [service for name in COMPOSE for service in _compose(name)["services"].values() if "ASSAY_IMAGE" in service["image"]]
    composed = {variable for service in services for variable in service["environment"]}
    chart = (CHART / "templates" / "_pod.tpl").read_text()
    unit = "\n".join(_unit()["Environment"])
    for where, names in (("image", images), ("compose", composed), ("chart", _set_in(chart)), ("unit", _set_in(unit))):
        assert {"ASSAY_DATA_DIR", "ASSAY_CONFIG"} & names, where
        assert names <= known, f"{where}: {sorted(names - known)}"
    for variable in re.findall(r'"((?:AWS|GOOGLE|AZURE)_\w+)"', chart):
        assert f"`{variable}`" in documented or variable in documented


def _unit():
    """The unit's [Service] section: each key with its values, in order."""
    service = (DEPLOY / "systemd" / "assay.service").read_text().split("[Service]")[1].split("[Install]")[0]
    entries = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", service, re.MULTILINE):
        entries.setdefault(key, []).append(value)
    return entries


def the_unit_runs_a_command_that_exists_as_the_user_that_is_made(tmp_path):
    unit = _unit()
    users = (DEPLOY / "systemd" / "assay.sysusers.conf").read_text()
    assert re.search(rf"^u {unit['User'][0]} ", users, re.MULTILINE)
    program, *arguments = shlex.split(unit["ExecStart"][0])
    assert program == "/usr/local/bin/assay"
    environment = dict(line.split("=", 1) for line in unit["Environment"])
    # What the unit says, but for its folders.
    folders = {"/var/lib/assay": tmp_path / "data", "/etc/assay": tmp_path}
    assert unit["StateDirectory"] == unit["ConfigurationDirectory"] == ["assay"]
    for name, value in environment.items():
        for folder, instead in folders.items():
            environment[name] = environment[name].replace(folder, str(instead))
    config = tmp_path / "assay.toml"
    config.write_text('[listen]\nhttp = "127.0.0.1:0"\notlp_grpc = "127.0.0.1:0"\notlp_http = "127.0.0.1:0"\n')
    ready = tmp_path / "ready"
    process = subprocess.Popen([harness.binary(), *arguments], env={**environment, "ASSAY_READY_FILE": str(ready)}, cwd="/", stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("part", PARTS)
def a_drop_in_makes_the_unit_one_part(part):
    lines = (DEPLOY / "systemd" / f"{part}.conf").read_text().splitlines()
    assert [line for line in lines if line.startswith("ExecStart=")] == ["ExecStart=", f"ExecStart=/usr/local/bin/assay {part}"]
    known = subprocess.check_output([harness.binary(), "--help"], text=True)
    assert re.search(rf"^  {part} ", known, re.MULTILINE)


def the_daily_backup_is_one_of_the_folder_that_the_unit_writes_to():
    text = (DEPLOY / "systemd" / "assay-snapshot.service").read_text()
    data = dict(line.split("=", 1) for line in _unit()["Environment"])["ASSAY_DATA_DIR"]
    (taken, copied) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert taken.split()[1:] == ["--service", "assay.service", data, f"{data}.snapshot"]
    assert f" {data}.snapshot/ " in copied
    removed = re.findall(r"^ExecSt(?:artPre|opPost)=/bin/rm -rf (.*)$", text, re.MULTILINE)
    assert removed == [f"{data}.snapshot"] * 2, "never the folder itself"


def _configurations():
    """(name, TOML, memory limit) of everything that is shipped with one."""
    for name in COMPOSE:
        for service, facts in _assays(_compose(name)).items():
            part = facts.get("command", ["serve"])[0]
            yield f"compose/{name}/{service}", (DEPLOY / "compose" / f"{name}.toml").read_text(), part, facts["mem_limit"]
    for size in (None, *SIZES):
        values = _values(size)
        yield f"helm/{size}", values["config"], "serve", values["resources"]["limits"]["memory"]
    for size in (None, "nodes"):
        values = _values(size)
        for part, of_part in zip(PARTS, ("collectors", "queries")):
            yield f"helm/{size}/{part}", values["config"], part, values["nodes"][of_part]["resources"]["limits"]["memory"]
    yield "systemd", "", "serve", _unit()["MemoryMax"][0]


# What of the memory that is allowed a part uses.
COUNTED = {
    "collector": (("storage", "hot_bytes_max"), ("ingest", "in_flight_bytes_max")),
    "query": (("query", "memory_total"),),
}
COUNTED["serve"] = COUNTED["collector"] + COUNTED["query"]


@pytest.mark.parametrize(("config", "part", "limit"), [found[1:] for found in _configurations()], ids=[found[0] for found in _configurations()])
def what_a_configuration_allows_fits_into_its_memory(config, part, limit):
    defaults = tomllib.loads(re.search(r"```toml\n(.*?)```", (REPOSITORY / "docs" / "configuration.md").read_text(), re.DOTALL)[1])
    set_here = _merged(defaults, tomllib.loads(config))
    allowed = sum(_bytes(set_here[section][key]) for section, key in COUNTED[part])
    assert allowed + UNCOUNTED_BYTES <= _bytes(limit), f"{allowed >> 20} MiB are allowed of {limit}"


@pytest.mark.parametrize("size", [None, *SIZES, "nodes"])
def the_configuration_of_each_size_starts_a_server(size, tmp_path):
    values = _values(size)
    arguments = {"ASSAY_RETENTION": values["retention"]} if values["retention"] else {}
    with Server(tmp_path / "data", values["config"], environment=arguments) as server:
        server.get("/readyz")


@pytest.mark.parametrize("name", COMPOSE)
def containers_are_shut_in_and_bounded_and_hold_no_secret(name):
    composed = _compose(name)
    services = _assays(composed)
    for service in services.values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]) and service["healthcheck"]["test"][1:] == ["/usr/bin/assay", "health"]
        assert [volume.split(":")[1] for volume in service["volumes"]] == ["/var/lib/assay"]
    volumes = [volume for service in services.values() for volume in service["volumes"]]
    published = [port.rsplit(":", 1)[0] for service in services.values() for port in service["ports"]]
    assert len(set(volumes)) == len(services) and len(set(published)) == len(published), "one data folder is used by one process"
    for name, each in composed["services"].items():
        assert "ports" not in each or name in services
        assert "mem_limit" in each or each["restart"] == "no"
        assert not [variable for variable in each.get("environment", {}) if re.search("(SECRET|PASSWORD|TOKEN|KEY)$", variable)]
        sources = {secret if isinstance(secret, str) else secret["source"] for secret in each.get("secrets", [])}
        assert sources <= composed.get("secrets", {}).keys()
    assert all(secret["file"].startswith("./secrets/") for secret in composed.get("secrets", {}).values())
    ignored = subprocess.run(["git", "check-ignore", "--quiet", "deploy/compose/secrets/s3-key"], cwd=REPOSITORY)
    assert ignored.returncode == 0, "a secret would be committed"


def the_postgres_of_compose_has_the_password_that_assay_reads():
    of_one, of_nodes = (_compose(name)["services"] for name in ("s3", "nodes"))
    assert of_one["postgres"] == of_nodes["postgres"]
    service = of_one["postgres"]
    for name in ("s3", "nodes"):
        accounts = tomllib.loads((DEPLOY / "compose" / f"{name}.toml").read_text())["accounts"]
        assert accounts["url"] == "postgres://{POSTGRES_USER}@postgres/{POSTGRES_DB}?sslmode=disable".format(**service["environment"])
        assert accounts["password_file"] == service["environment"]["POSTGRES_PASSWORD_FILE"] == f"/run/secrets/{service['secrets'][0]}"
        for facts in _assays(_compose(name)).values():
            assert ("postgres-password" in facts["secrets"]) == (facts.get("command") != ["collector"])


def the_bucket_of_compose_takes_the_lake_and_nobody_without_the_key(tmp_path, postgres):
    services = _compose("s3")["services"]
    nodes = _compose("nodes")["services"]
    assert all(nodes[name] == services[name] for name in ("bucket", "bucket-create"))
    secrets = tmp_path / "secrets"
    make_secrets = ["sh", DEPLOY / "compose" / "secrets.sh", secrets]
    subprocess.run(make_secrets, check=True)
    files = ("s3-key", "postgres-password")
    key, password = ((secrets / name).read_text() for name in files)
    subprocess.run(make_secrets, check=True)
    assert [(secrets / name).read_text() for name in files] == [key, password] and key != password and len(password) == 64
    assert len(key) == 64 and secrets.stat().st_mode & 0o077 == 0

    names = ("master", "volume", "filer", "s3")
    ports = dict(zip(names, s3.free_ports(len(names))))
    grpc = dict(zip(names, s3.free_ports(len(names))))
    here = {"-dir=/data": f"-dir={tmp_path / 'weed'}", "-ip=bucket": "-ip=127.0.0.1", "-ip.bind=0.0.0.0": "-ip.bind=127.0.0.1"}
    here |= {"-s3.port=8333": f"-s3.port={ports['s3']}", "-s3.config=/run/secrets/s3.json": f"-s3.config={secrets / 's3.json'}"}
    flags = services["bucket"]["command"]
    assert here.keys() <= set(flags)
    command = [s3.weed(), f"-logdir={tmp_path}", *(here.get(flag, flag) for flag in flags)]
    command += [f"-{name}.port={port}" for name, port in ports.items() if name != "s3"]
    command += [f"-{name}.port.grpc={port}" for name, port in grpc.items()]
    command += [f"-s3.port.{name}={port}" for name, port in zip(("iceberg", "lance"), s3.free_ports(2))]
    (tmp_path / "weed").mkdir()
    create = services["bucket-create"]["command"][0].replace("$$", "$")
    assert services["bucket-create"]["entrypoint"] == ["/bin/sh", "-c"]
    create = create.replace("bucket:9333", f"127.0.0.1:{ports['master']}.{grpc['master']}")
    create = create.replace("bucket:8888", f"127.0.0.1:{ports['filer']}.{grpc['filer']}")
    environment = {**os.environ, "PATH": f"{Path(s3.weed()).parent}:{os.environ['PATH']}"}
    with (tmp_path / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    try:
        url = f"http://127.0.0.1:{ports['s3']}"
        _until_answers(services["bucket"]["healthcheck"]["test"][-1].replace("http://127.0.0.1:8333", url))
        # Twice: `up` runs it each time.
        for _ in range(2):
            done = subprocess.run(["/bin/sh", "-c", create], env=environment, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stdout + done.stderr

        postgres.sql("postgres", f"CREATE ROLE compose LOGIN PASSWORD '{password}'; CREATE DATABASE compose OWNER compose")

        def here(name):
            config = (DEPLOY / "compose" / f"{name}.toml").read_text().replace("http://bucket:8333", url).replace("/run/secrets", str(secrets))
            return config.replace("assay@postgres/assay", f"compose@localhost:{postgres.port}/compose")

        config = here("s3")
        rng = otlp.seeded(51)
        with Server(tmp_path / "data", config) as server:
            server.send("traces", otlp.traces([otlp.chat(rng) for _ in range(5)]).SerializeToString())
        with server:
            assert server.sql("SELECT count(*) AS n FROM spans") == [{"n": 5}]
            assert server.get("/api/v1/saved") == {"items": []}
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{url}/assay/lake/assay-owner.json", timeout=30)
        # As `up` does: a query node when a collector is healthy. All of them over the same bucket.
        shared = here("nodes").replace("s3://assay/lake", "s3://assay/shared")
        parts = {name: service["command"][0] for name, service in _assays(_compose("nodes")).items()}
        assert sorted(parts.values()) == ["collector", "collector", "query", "query"]
        running = {name: Server(tmp_path / name, shared, part=part).start() for name, part in sorted(parts.items())}
        collectors, readers = ([node for name, node in running.items() if parts[name] == part] for part in PARTS)
        for node in collectors:
            node.send("traces", otlp.traces([otlp.chat(rng) for _ in range(5)]).SerializeToString())
            # What it has taken is committed when it has ended.
            node.stop()
        for node in readers:
            _until(lambda: node.sql("SELECT count(*) AS n FROM spans") == [{"n": 10}])
            assert node.get("/api/v1/saved") == {"items": []}
            node.stop()
    finally:
        process.kill()
        process.wait()


def the_clickhouse_of_compose_takes_the_rows_by_the_password_alone(tmp_path):
    services = _compose("clickhouse")["services"]
    secrets = tmp_path / "secrets"
    subprocess.run(["sh", DEPLOY / "compose" / "secrets.sh", secrets], check=True)
    password = (secrets / "clickhouse-password").read_text()
    (hashed,) = re.findall("<password_sha256_hex>(.*)</password_sha256_hex>", (secrets / "clickhouse-users.xml").read_text())
    assert hashed == hashlib.sha256(password.encode()).hexdigest()
    config = (DEPLOY / "compose" / "clickhouse.toml").read_text()
    with clickhouse_server.ClickHouse(tmp_path / "engine", "--user", "assay", "--password", password) as service:
        config = config.replace("clickhouse:8123", service.address).replace("/run/secrets", str(secrets))
        server = Server(tmp_path / "data", config)
        migrate = {"ASSAY_CONFIG": str(tmp_path / "data.toml")}
        assert services["migrate"]["command"] == ["migrate"] and services["migrate"]["environment"].keys() == migrate.keys()
        # Twice: `up` runs it each time.
        for _ in range(2):
            subprocess.run([harness.binary(), "migrate"], env=migrate, check=True, timeout=120)
        with server:
            server.send("traces", otlp.traces([otlp.chat(otlp.seeded(52))]).SerializeToString())
        with server:
            assert server.sql("SELECT count(*) AS n FROM spans") == [{"n": 1}]
        server.configure(config.replace('user = "assay"', 'user = "default"'))
        with pytest.raises(AssertionError, match="assay ended"):
            server.start()


def _until_answers(url):
    """A service that starts answers some day. Asking is the interface, as it is for Compose."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return urllib.request.urlopen(url, timeout=5).read()
        except OSError:
            assert time.monotonic() < deadline, f"`{url}` did not answer within 60 s"
            time.sleep(0.2)


def _until(holds):
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "what the collectors committed was not seen within 30 s"
        time.sleep(0.1)


def the_chart_uses_every_value_and_offers_every_one_it_uses():
    values = _values()
    templates = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    used = {tuple(name.split(".")) for name in re.findall(r"(?:\.Values|\$values)\.([\w.]+)", templates)}
    for path in used:
        inner = values
        for key in path:
            assert isinstance(inner, dict) and key in inner, f"`.Values.{'.'.join(path)}` is not in values.yaml"
            inner = inner[key]
    unused = {path for path in _paths(values) if not any(path[: n + 1] in used for n in range(len(path)))}
    assert unused == set(), "offered, and used by no template"
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    assert values.keys() == schema.keys() - {"global"}
    for key, value in values.items():
        if "properties" in schema[key]:
            assert value.keys() == schema[key]["properties"].keys(), key
    for size in SIZES:
        above = yaml.safe_load((CHART / f"values-{size}.yaml").read_text())
        assert above.keys() <= values.keys() and above["resources"]["limits"]["memory"] and above["persistence"]["size"]
    above = yaml.safe_load((CHART / "values-nodes.yaml").read_text())
    assert set(_paths(above)) <= set(_paths(values)) and above["nodes"]["enabled"] and above["persistence"]["size"]


def _paths(values):
    """The place of each value that has none below it."""
    for key, value in values.items():
        yield from ((key, *path) for path in _paths(value)) if isinstance(value, dict) and value else [(key,)]


def the_chart_has_the_version_of_assay():
    version = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == version


def alerts_ask_for_metrics_that_are_documented():
    groups = yaml.safe_load((DEPLOY / "prometheus" / "assay.rules.yaml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    documented = set(re.findall(r"^\| `(assay_\w+)`", page, re.MULTILINE))
    reasons = (REPOSITORY / "query" / "src" / "metrics.rs").read_text()
    for rule in rules:
        metrics = set(re.findall(r"assay_\w+", rule["expr"]))
        assert metrics <= documented and (metrics or "up{" in rule["expr"]), rule["expr"]
        assert rule["labels"]["severity"] in ("page", "ticket") and rule["annotations"]["summary"]
        for reason in re.findall(r'reason=~"([^"]+)"', rule["expr"]):
            assert [name for name in reason.split("|") if f'"{name}"' not in reasons] == []
    assert len(rules) > 5
