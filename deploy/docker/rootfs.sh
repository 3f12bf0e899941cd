#!/bin/sh
# Lays out what the image holds: `rootfs.sh BINARY ROOT`. Runs in the build stage, on Debian, which the libraries are taken from.
#
# Beside what the binary loads there is what scanners of images look for: the package of each file, as dpkg knows it, and its licence.
set -eu
binary=$1
root=$2
id=65532

mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/var/lib/dpkg/status.d" "$root/usr/share/doc/assay"
install -m 0755 "$binary" "$root/usr/bin/assay"
install -m 0644 LICENSE "$root/usr/share/doc/assay/LICENSE"

libraries=$(ldd "$binary" | grep -oE '/[^ ]+')
certificates=/etc/ssl/certs/ca-certificates.crt
for file in $libraries $certificates; do
  mkdir -p "$root$(dirname "$file")"
  cp --dereference "$file" "$root$file"
  # dpkg knows files by the name below /usr or by the one without, whichever the package was built with.
  package=$(dpkg-query --search "$(realpath "$file")" "$file" 2>/dev/null | head -n 1 | cut -d : -f 1)
  # The certificates are gathered in one file when the package is set up; no package has it.
  [ "$file" != "$certificates" ] || package=ca-certificates
  [ -n "$package" ] || { echo "rootfs.sh: found no package of \`$file\`, expected one" >&2; exit 1; }
  dpkg-query --status "$package" > "$root/var/lib/dpkg/status.d/$package"
  mkdir -p "$root/usr/share/doc/$package"
  cp --dereference "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/copyright"
done

echo "assay:x:$id:$id:Assay:/var/lib/assay:/nonexistent" > "$root/etc/passwd"
echo "assay:x:$id:" > "$root/etc/group"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
cp /etc/os-release "$root/etc/os-release"
