#!/usr/bin/env bash
# fdtput and dtc cut off the data of a FIT image that keeps it behind the device tree, and report success.
#
# Version: device-tree-compiler 1.7.2, u-boot-tools 2025.01 (Debian 13); device-tree-compiler 1.8.1 (Debian forky) does the same.
#
# Behavior: a FIT image is a device tree blob. `mkimage -E` puts kernels and file systems behind the blob, with their
# sizes and offsets as properties. `fdtput` writes the changed blob over the file and ends it there, also where the new
# value is as long as the old one. `dtc` leaves the data out as well. The exit codes are 0. `mkimage -l` and `dumpimage
# -l` list the result with all sizes and hashes and find no fault. An image made without -E keeps its data, as it is in
# properties.
#
# Why it surprises: the two are the tools of device trees, and a FIT image is one, which the manual of mkimage says;
# fdtput is how scripts change the default configuration or a load address. It rewrites properties in place in the file
# that it is given, so the guess is that what is behind the tree stays, or at least that a value of the same length
# leaves the file as long as it was. U-Boot makes its own images with -E, so that the loader reads the tree first. All
# listings agree that the image is whole; the boot loader does not.
#
# Seen on 2026-11-30, a kernel of 3000 bytes, with the size and the listing of the image, and whether it has the kernel:
#   mkimage                   4544 bytes, listed: 3000 bytes, kernel: yes
#   mkimage, fdtput           3596 bytes, listed: 3000 bytes, kernel: yes
#   mkimage -E                3640 bytes, listed: 3000 bytes, kernel: yes
#   mkimage -E, fdtput        638 bytes, listed: 3000 bytes, kernel: no
#   mkimage -E, dtc           633 bytes, listed: 3000 bytes, kernel: no
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages='base-files,coreutils,dash,device-tree-compiler=1.7.2-2*,u-boot-tools=2025.01-3*'
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch the tools"
mkdir -p root/work root/tmp
tool() { chroot root /usr/bin/env -i -C /work PATH=/usr/bin SOURCE_DATE_EPOCH=1 "$@" >log 2>&1 || die "$1: $(tail -n 1 log)"; }

head --bytes=3000 /dev/zero | tr '\0' k >root/work/kernel
cat >root/work/image.its <<'END'
/dts-v1/;
/ {
	description = "an image";
	#address-cells = <1>;
	images {
		kernel {
			description = "a kernel";
			data = /incbin/("kernel");
			type = "kernel";
			arch = "arm64";
			os = "linux";
			compression = "none";
			load = <0x80000>;
			entry = <0x80000>;
			hash { algo = "sha256"; };
		};
	};
	configurations {
		default = "one";
		one { kernel = "kernel"; };
		two { kernel = "kernel"; };
	};
};
END
result=""
show() {
  local line size listed kernel=no
  size=$(stat --format=%s "root/work/$2")
  tool dumpimage -l "$2"
  listed=$(sed -n 's/ *Data Size: *\([0-9]* \)Bytes.*/\1bytes/p' log)
  if [ "$(tr --delete --complement k <"root/work/$2" | wc --bytes)" -gt 3000 ]; then kernel=yes; fi
  line=$(printf '%-25s %s bytes, listed: %s, kernel: %s' "$1" "$size" "$listed" "$kernel")
  echo "$line"
  result+="$line"$'\n'
}
change() {
  cp "root/work/$1" "root/work/$2"
  tool fdtput -t s "$2" /configurations default two
}
tool mkimage -f image.its inside.itb
tool mkimage -f image.its -E behind.itb
show 'mkimage' inside.itb
change inside.itb inside-changed.itb
show 'mkimage, fdtput' inside-changed.itb
show 'mkimage -E' behind.itb
change behind.itb behind-changed.itb
show 'mkimage -E, fdtput' behind-changed.itb
tool dtc -q -I dtb -O dtb -o behind-copied.itb behind.itb
show 'mkimage -E, dtc' behind-copied.itb
expected="mkimage                   4544 bytes, listed: 3000 bytes, kernel: yes
mkimage, fdtput           3596 bytes, listed: 3000 bytes, kernel: yes
mkimage -E                3640 bytes, listed: 3000 bytes, kernel: yes
mkimage -E, fdtput        638 bytes, listed: 3000 bytes, kernel: no
mkimage -E, dtc           633 bytes, listed: 3000 bytes, kernel: no
"
[ "$result" = "$expected" ] || die "the data of images is kept now, or listed in another way"
echo "as seen on 2026-11-30"
