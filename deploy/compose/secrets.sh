#!/bin/sh
# Makes the key with which Assay reaches the bucket of s3.yaml: in ./secrets (or the folder given), once. A key that is there is kept.
#
# The files are readable by every user, because the containers run as users of their own; the folder is readable by its owner alone.
set -eu
folder=${1:-$(dirname "$0")/secrets}
if [ -e "$folder/s3.json" ]; then
  echo "secrets.sh: \`$folder\` has a key already" >&2
  exit 0
fi
mkdir -p "$folder"
chmod 0700 "$folder"
key=$(od -An -N 32 -t x1 /dev/urandom | tr -d ' \n')
umask 022
printf '%s' "$key" > "$folder/s3-key"
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
