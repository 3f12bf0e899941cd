"""A Kafka broker of its own for a test: one node in KRaft mode, from jars that Maven gets. And what a test asks of it."""

import hashlib
import itertools
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import confluent_kafka as kafka
import s3
from confluent_kafka import admin
from harness import CACHE

POM = Path(__file__).with_name("kafka") / "pom.xml"
TOPICS = {"traces": "otlp_spans", "logs": "otlp_logs", "metrics": "otlp_metrics"}
USER, PASSWORD = "assay", "correct horse"
START_TIMEOUT_SECONDS = 120
RECORD_BYTES_MAX = 64 << 20
# Short of memory, as tests share a machine.
JAVA = ["java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


class Broker:
    """One broker. It may be stopped, or killed, and started again at the same address, with what it had."""

    def __init__(self, folder, partitions=4):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self._log = self.folder / "log"
        plain, secure, controller = s3.free_ports(3)
        self.address, self.secure_address = f"127.0.0.1:{plain}", f"127.0.0.1:{secure}"
        self._properties = self.folder / "server.properties"
        self._properties.write_text(self._configuration(controller))
        self.ca_file = self._certificate()
        self._run("kafka.tools.StorageTool", "format", "--standalone", "--cluster-id", "5L6g3nShT-eMCtK--X86sw", "--config", self._properties,
                  "--add-scram", f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]")
        self.start()
        topics = [admin.NewTopic(name, num_partitions=partitions, replication_factor=1) for name in TOPICS.values()]
        for created in self.admin.create_topics(topics).values():
            created.result(timeout=60)

    def _configuration(self, controller):
        store = {"type": "PKCS12", "location": self.folder / "broker.p12", "password": "broker-key"}
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "listeners": f"PLAINTEXT://{self.address},SASL_SSL://{self.secure_address},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address},SASL_SSL://{self.secure_address}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "log.dirs": self.folder / "data",
            "offsets.topic.num.partitions": 1,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "auto.create.topics.enable": "false",
            "message.max.bytes": RECORD_BYTES_MAX,
        } | {f"ssl.keystore.{name}": value for name, value in store.items()} | {"ssl.key.password": store["password"]}
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        settings["listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config"] = scram
        return "".join(f"{name}={value}\n" for name, value in settings.items())

    def _certificate(self):
        """Makes the broker's key, signed by itself; the file is the authority that clients are told to trust."""
        store, authority = self.folder / "broker.p12", self.folder / "ca.pem"
        keytool = ["keytool", "-keystore", store, "-storetype", "PKCS12", "-storepass", "broker-key", "-alias", "broker"]
        names = ["-dname", "CN=127.0.0.1", "-ext", "SAN=IP:127.0.0.1", "-validity", "7"]
        subprocess.run([*keytool, "-genkeypair", "-keyalg", "RSA", *names], check=True, capture_output=True)
        subprocess.run([*keytool, "-exportcert", "-rfc", "-file", authority], check=True, capture_output=True)
        return authority

    def _run(self, *arguments):
        done = subprocess.run([*JAVA, "-cp", _classpath(), *arguments], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self):
        """Starts the process; returns when clients are answered."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen([*JAVA, "-cp", _classpath(), "kafka.Kafka", self._properties], stdout=log, stderr=log, cwd=self.folder)
        # A new client has no memory of a broker that was away. It must outlive what it was asked.
        self.admin = admin.AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            assert self.process.poll() is None and time.monotonic() < deadline, self._log.read_text()[-4000:]
            try:
                if self.admin.list_topics(timeout=2).brokers:
                    return self
            except kafka.KafkaException:
                continue

    def stop(self):
        """Asks it to end, and waits."""
        self.process.terminate()
        self.process.wait(timeout=120)

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def producer(self, **settings):
        """A producer that brokers have to acknowledge, and that repeats without doubling."""
        own = {"bootstrap.servers": self.address, "enable.idempotence": True, "linger.ms": 2, "message.max.bytes": RECORD_BYTES_MAX, "log_level": 0}
        return kafka.Producer(own | settings)

    def committed(self, group="assay"):
        """What the group has committed: (topic, partition) → offset."""
        asked = [kafka.ConsumerGroupTopicPartitions(group)]
        answer = self.admin.list_consumer_group_offsets(asked)[group].result(timeout=60)
        return {(found.topic, found.partition): found.offset for found in answer.topic_partitions}

    def ends(self):
        """Where the partitions end: (topic, partition) → offset of the next record; without those that are empty."""
        topics = self.admin.list_topics(timeout=60).topics
        names = [(name, partition) for name in TOPICS.values() for partition in topics[name].partitions]
        wanted = {kafka.TopicPartition(*name): admin.OffsetSpec.latest() for name in names}
        ends = {(found.topic, found.partition): result.result(timeout=60).offset for found, result in self.admin.list_offsets(wanted).items()}
        return {name: offset for name, offset in ends.items() if offset > 0}

    def members(self, group="assay"):
        """How many partitions each member of the group has, by its identity in the group."""
        described = self.admin.describe_consumer_groups([group])[group].result(timeout=60)
        return {member.member_id: len(member.assignment.topic_partitions) for member in described.members}


class Senders:
    """Records to `broker` without a pause, in a thread: `make(n)` gives the n-th as (signal, request, names of what is in it)."""

    def __init__(self, broker, make, pause_seconds=0.0):
        self.broker, self.make, self.pause_seconds = broker, make, pause_seconds
        self.names = {signal: set() for signal in TOPICS}
        self._failed = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self):
        producer = self.broker.producer()
        try:
            for number in itertools.count():
                if self._ended.is_set():
                    break
                signal, request, names = self.make(number)
                send(producer, signal, request.SerializeToString(), self._delivered)
                self.names[signal] |= names
                producer.poll(0)
                time.sleep(self.pause_seconds)
        finally:
            left = producer.flush(120)
            if left:
                self._failed.append(f"{left} records were not delivered")

    def _delivered(self, error, _):
        if error is not None:
            self._failed.append(str(error))

    def end(self):
        """Sends no more; returns when the broker has all of it. Signal → names sent."""
        self._ended.set()
        self._thread.join(timeout=180)
        assert not self._thread.is_alive() and not self._failed, self._failed[:3]
        return self.names


def send(producer, signal, body, delivered=None, partition=None):
    """One record, as the exporter of the OpenTelemetry Collector writes it: the value is the request, there is no key."""
    where = {} if partition is None else {"partition": partition}
    while True:
        try:
            producer.produce(TOPICS[signal], body, on_delivery=delivered, **where)
            return
        except BufferError:
            producer.poll(0.1)


def _classpath():
    """The jars; Maven looks for them once, and keeps them where it keeps jars."""
    key = hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    listed = CACHE / "kafka" / f"classpath-{key}"
    if not listed.exists() or not all(os.path.exists(jar) for jar in listed.read_text().split(":")):
        listed.parent.mkdir(parents=True, exist_ok=True)
        temporary = listed.with_suffix(".part")
        command = ["mvn", "--batch-mode", "--quiet", "--file", POM, "dependency:build-classpath", f"-Dmdep.outputFile={temporary}"]
        subprocess.run(command, check=True, timeout=600)
        temporary.rename(listed)
    return listed.read_text()
