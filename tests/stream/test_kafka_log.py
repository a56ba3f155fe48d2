"""What is Kafka's alone: how its topics are made, and what is said when it is not there."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from msgspec.structs import replace

from models.broker import free_port
from models.config import Config, Stream
from models.errors import ConfigError, StorageError
from stream.log.engine import broker_url, declared, is_kafka
from stream.log.file import NewTopic, Partition
from stream.log.kafka import KafkaLog, servers_of
from stream.recorded import Recorded
from tests.servers import Kafka
from tests.stream.sqlite_harness import numbered, run

CONFIG = Config(tenant="t", stream=Stream(broker="kafka://one,two:9093", partitions=7, retention_days=2.0))


def test_the_servers_of_a_url_are_named_with_their_ports() -> None:
    assert servers_of("kafka://one,two:9093/tenant") == "one:9092,two:9093"
    assert broker_url(CONFIG) == "kafka://one:9092;kafka://two:9093"
    assert is_kafka(CONFIG)


def test_every_topic_of_the_app_is_declared_with_its_partitions() -> None:
    topics = {topic.name: topic for topic in declared(CONFIG, {"zones": 7, "desk": 1})}
    assert topics["obs"] == NewTopic("obs", 7, retention_ms=2 * 86_400_000)
    assert topics["checkpoint"] == NewTopic("checkpoint", 7, retention_ms=2 * 86_400_000)
    assert topics["stream-zones-changelog"] == NewTopic("stream-zones-changelog", 7, is_compacted=True)
    assert {name for name, topic in topics.items() if topic.partitions == 1} >= {"incidents", "orders", "dead"}


def test_a_broker_of_another_kind_is_refused_with_what_is_served() -> None:
    with pytest.raises(ConfigError, match=r"stream\.broker.*kafka://host:port"):
        broker_url(replace(CONFIG, stream=Stream(broker="amqp://somewhere")))


def test_a_kafka_that_is_not_there_is_named_with_what_to_check() -> None:
    servers = f"127.0.0.1:{free_port()}"

    async def scenario() -> None:
        with pytest.raises(StorageError, match=f"{servers}: .*check that Kafka runs there"):
            await KafkaLog.open(servers, "t", patience_s=0.0)

    run(scenario())


def test_a_recorded_log_is_named_with_its_tenant() -> None:
    with pytest.raises(StorageError, match="name the tenant"):
        Recorded("kafka://127.0.0.1:9092")


@pytest.mark.kafka
def test_topics_are_made_as_declared_and_can_be_used_at_once(kafka: Kafka, tmp_path: Path) -> None:
    tenant = f"t{uuid.uuid4().hex[:8]}"
    topics = [NewTopic("obs", 5, retention_ms=1_000_000), NewTopic("rows", 1, is_compacted=True), NewTopic("kept", 1)]
    wanted = {
        "obs": {"cleanup.policy": "delete", "retention.ms": "1000000"},
        "rows": {"cleanup.policy": "compact"},
        "kept": {"retention.ms": "-1"},
    }

    async def scenario() -> None:
        log = await KafkaLog.open(servers_of(kafka.url), tenant)
        await log.create_topics(topics)
        assert await log.append(numbered("obs", [1], partition=4)) == [0]
        assert (log.known_partitions("obs"), log.known_partitions("nothing")) == (5, None)
        assert (await log.heads())[Partition("obs", 4)] == 1
        await log.close()
        admin = AIOKafkaAdminClient(bootstrap_servers=servers_of(kafka.url))
        await admin.start()
        for name, settings in wanted.items():
            asked = ConfigResource(ConfigResourceType.TOPIC, f"{tenant}.{name}")
            (answer,) = await admin.describe_configs([asked])
            found = {entry[0]: entry[1] for entry in answer.resources[0][4]}
            assert found | settings == found
        await admin.close()

    run(scenario())
    recorded = Recorded(f"{kafka.url}/{tenant}")
    assert recorded.partitions("obs") == 5
    assert [record.value for record in recorded.records("obs", 4)] == [b"1"]
    with pytest.raises(StorageError, match="no topic 'nothing'"):
        recorded.partitions("nothing")
    recorded.close()
