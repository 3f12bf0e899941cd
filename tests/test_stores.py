"""One answer from every store: a lake on disk, a lake in a bucket, ClickHouse. `query_suite.py` says what they are asked."""

import clickhouse_server
import query_suite
import s3
from harness import Server


def a_lake_on_disk_a_lake_in_a_bucket_and_clickhouse_answer_alike(tmp_path):
    with s3.SeaweedFS(tmp_path / "weed") as bucket, clickhouse_server.ClickHouse(tmp_path / "engine") as clickhouse:
        disk = Server(tmp_path / "disk")
        in_bucket = Server(tmp_path / "bucket", s3.config(bucket.address, "suite"), environment=s3.credentials())
        over_clickhouse = clickhouse_server.migrated(Server(tmp_path / "clickhouse", clickhouse_server.config(clickhouse.address, "suite")))
        stores = {"disk": disk, "bucket": in_bucket, "clickhouse": over_clickhouse}
        requests = query_suite.requests()
        for half, pages in ((requests[::2], ()), (requests[1::2], query_suite.PAGES)):
            # What the first half sent is in the stores by then, the rest is in memory.
            with disk, in_bucket, over_clickhouse:
                for send in half:
                    for server in stores.values():
                        send(server)
                query_suite.assert_same(stores, pages)
        with disk, in_bucket, over_clickhouse:
            query_suite.assert_same(stores, query_suite.PAGES)
            many = ", ".join(f"'{n:032x}'" for n in range(20_000))
            for server in stores.values():
                assert server.sql(f"SELECT count(*) AS n FROM spans WHERE trace_id IN ({many})") == [{"n": 0}]
            stored = clickhouse.rows("SELECT count() AS n, uniqExact(trace_id, span_id) AS ids FROM suite.spans")[0]
            assert stored["n"] == disk.sql("SELECT count(*) AS n FROM spans")[0]["n"]
