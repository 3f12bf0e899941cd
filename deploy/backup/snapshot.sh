#!/bin/bash
# Copies the data folder of a running server to a folder beside it, as it is at one moment: `snapshot.sh HOW DATA_DIR SNAPSHOT`, where HOW is
#
#   --service NAME       a service of systemd         (systemctl freeze, thaw)
#   --container NAME     a container of Docker         (docker pause, unpause)
#   --pid PID            a process                     (signals STOP and CONT)
#   --stopped            nothing runs
#
# The server stands still while this works, for less than a second unless the log is long: senders wait, nothing is refused. What the copy holds is what a kill
# -9 at that moment would have left, which Assay starts from, losing nothing. Files of the lake never change, so they are linked, not copied:
# both folders must be on one file system, and the snapshot takes no room until files are merged. The write-ahead log and `assay.db` are written
# in place, so they are copied. The cache of a bucket and spilled queries are left out. Copy the snapshot to another machine, then delete it.
#
# Status: 0 if there is a snapshot; else there is none, and the server runs on.
set -euo pipefail

fail() { echo "snapshot.sh: $1" >&2; exit 1; }

stopped=no
freeze() { :; }
thaw() { :; }
case "${1:-}" in
  --service)
    service=$2; shift 2
    freeze() { systemctl freeze "$service"; }
    thaw() { systemctl thaw "$service"; } ;;
  --container)
    container=$2; shift 2
    freeze() { docker pause "$container" > /dev/null; }
    thaw() { docker unpause "$container" > /dev/null; } ;;
  --pid)
    pid=$2; shift 2
    freeze() {
      uses_folder && kill -STOP "$pid" || return 1
      for _ in $(seq 1000); do
        if standing; then return 0; fi
        sleep 0.01
      done
      return 1
    }
    # Files and threads come and go while they are listed, so the status of `find` and `grep` says nothing here; what they print does.
    uses_folder() { [ -n "$(find "/proc/$pid/fd" -lname "$(realpath "$data")/lock" 2> /dev/null)" ]; }
    # Every thread: a signal reaches them one after the other, and a write that has begun is ended first.
    standing() {
      local states
      states=$(grep -hE '^State:' "/proc/$pid/task"/*/status 2> /dev/null || true)
      [ -n "$states" ] && ! grep -qv 'T (stopped)' <<< "$states"
    }
    thaw() { kill -CONT "$pid"; } ;;
  --stopped) shift; stopped=yes ;;
  *) fail "found \`${1:-}\`, expected --service, --container, --pid or --stopped" ;;
esac
[ $# = 2 ] || fail "found $# folders, expected two: DATA_DIR SNAPSHOT"
data=$1
snapshot=$2
[ -f "$data/node-id" ] || fail "\`$data\` is not a data folder: found no \`node-id\` in it"
# The server holds a lock on this file as long as it runs.
if flock --nonblock "$data/lock" true; then in_use=no; else in_use=yes; fi
[ "$in_use$stopped" != yesyes ] || fail "\`$data\` is in use: name what uses it (--service, --container, --pid)"
[ "$in_use$stopped" != nono ] || fail "no process uses \`$data\`: expected --stopped"
[ ! -e "$snapshot" ] || fail "\`$snapshot\` exists, expected a name that is free"
partial=$snapshot.partial
rm -rf "$partial"
mkdir -m 0700 "$partial"
if [ "$(stat -c %d "$data")" != "$(stat -c %d "$partial")" ]; then
  rmdir "$partial"
  fail "\`$data\` and \`$snapshot\` are on different file systems, expected one"
fi

# Whatever happens, the server goes on. The copy is whole only once it has its name.
finish() {
  [ -e "$snapshot" ] || rm -rf "$partial"
  thaw || { echo "snapshot.sh: could not thaw the server: do it by hand" >&2; return 1; }
}
trap finish EXIT
trap 'exit 1' INT TERM HUP
freeze || fail "could not freeze the server"
began=$(date +%s%N)
at=$(date --utc +%Y-%m-%dT%H:%M:%S.%3NZ)
for path in "$data"/*; do
  case "${path##*/}" in
    lake | lake-index | blobs) cp --archive --link "$path" "$partial/" ;;
    cache | spill | lock | lost+found) ;;
    *) cp --archive "$path" "$partial/" ;;
  esac
done
chown --reference="$data" "$partial"
chmod --reference="$data" "$partial"
took=$((($(date +%s%N) - began) / 1000000))
mv "$partial" "$snapshot"
finish
trap - EXIT
sync --file-system "$snapshot"
echo "snapshot of $at in $snapshot; the server stood still for $took ms"
