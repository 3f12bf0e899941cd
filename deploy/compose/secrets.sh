#!/bin/sh
# Makes what Assay and the services beside it tell each other, in ./secrets (or the folder given): the key of the bucket and the password of
# Postgres of s3.yaml and nodes.yaml, the password of clickhouse.yaml. What is there is kept.
#
# The files are readable by every user, because the containers run as users of their own; the folder is readable by its owner alone.
set -eu
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 0700 "$folder"
umask 022

random() { od -An -N 32 -t x1 /dev/urandom | tr -d ' \n'; }

if [ ! -e "$folder/s3-key" ]; then
  key=$(random)
  cat > "$folder/s3.json" <<JSON
{
  "identities": [
    {
      "name": "assay",
      "credentials": [{"accessKey": "assay", "secretKey": "$key"}],
      "actions": ["Read:assay", "Write:assay", "List:assay"]
    }
  ]
}
JSON
  printf '%s' "$key" > "$folder/s3-key"
fi

[ -e "$folder/postgres-password" ] || random > "$folder/postgres-password"

if [ ! -e "$folder/clickhouse-password" ]; then
  password=$(random)
  hash=$(printf '%s' "$password" | sha256sum | cut -d ' ' -f 1)
  cat > "$folder/clickhouse-users.xml" <<XML
<clickhouse>
  <users>
    <default remove="remove"/>
    <assay>
      <password_sha256_hex>$hash</password_sha256_hex>
      <networks><ip>::/0</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </assay>
  </users>
</clickhouse>
XML
  printf '%s' "$password" > "$folder/clickhouse-password"
fi
