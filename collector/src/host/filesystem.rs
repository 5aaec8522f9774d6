//! Mounted file systems: size, free, available, inodes, read-only. Pseudo file systems are left out as node_exporter does.

use std::{collections::HashSet, io, path::Path};

use super::{Kind, Page, Roots};

const SKIPPED_TYPES: [&str; 27] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "erofs",
    "sysfs",
    "tracefs",
    "ramfs",
];
const SKIPPED_ROOTS: [&str; 3] = ["/dev", "/proc", "/sys"];
const SKIPPED_BELOW: [&str; 3] = ["/run/credentials/", "/var/lib/docker/", "/var/lib/containers/storage/"];

#[derive(Debug, PartialEq, Eq, Hash)]
struct Mount {
    device: String,
    point: String,
    kind: String,
    read_only: bool,
}

/// Asks every mounted file system; one that does not answer holds the call.
pub fn read(roots: &Roots, page: &mut Page<'_>) -> io::Result<()> {
    let text = roots.proc_text("1/mounts").or_else(|_| roots.proc_text("self/mounts"))?;
    let mut seen = HashSet::new();
    for mount in mounts(&text) {
        if seen.insert(mount.point.clone()) {
            add(roots, &mount, page);
        }
    }
    Ok(())
}

fn is_skipped(kind: &str, point: &str) -> bool {
    SKIPPED_TYPES.contains(&kind)
        || SKIPPED_BELOW.iter().any(|p| point.starts_with(p))
        || SKIPPED_ROOTS.iter().any(|p| point.strip_prefix(p).is_some_and(|r| r.is_empty() || r.starts_with('/')))
}

fn mounts(text: &str) -> Vec<Mount> {
    let parse = |line: &str| {
        let mut words = line.split(' ');
        let (device, point, kind, options) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let point = unescape(point);
        (!is_skipped(kind, &point)).then(|| Mount {
            device: device.into(),
            point,
            kind: kind.into(),
            read_only: options.split(',').any(|o| o == "ro"),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// Blanks in paths are written as `\040`, tabs as `\011`, backslashes as `\134`.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

fn add(roots: &Roots, mount: &Mount, page: &mut Page<'_>) {
    let labels = [("device", &*mount.device), ("fstype", &*mount.kind), ("mountpoint", &*mount.point)];
    let path = roots.root_dir.join(mount.point.trim_start_matches('/'));
    let path: &Path = if roots.root_dir == Path::new("/") { Path::new(&mount.point) } else { &path };
    let Ok(stat) = rustix::fs::statvfs(path) else {
        page.add(Kind::Gauge, "node_filesystem_device_error", &labels, 1.0);
        return;
    };
    let unit = stat.f_frsize as f64;
    for (name, value) in [
        ("node_filesystem_size_bytes", stat.f_blocks as f64 * unit),
        ("node_filesystem_free_bytes", stat.f_bfree as f64 * unit),
        ("node_filesystem_avail_bytes", stat.f_bavail as f64 * unit),
        ("node_filesystem_files", stat.f_files as f64),
        ("node_filesystem_files_free", stat.f_ffree as f64),
        ("node_filesystem_readonly", f64::from(u8::from(mount.read_only))),
        ("node_filesystem_device_error", 0.0),
    ] {
        page.add(Kind::Gauge, name, &labels, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pseudo_file_systems_are_left_out() {
        let text = "/dev/sda1 / ext4 rw,relatime 0 0\nproc /proc proc rw 0 0\ntmpfs /run tmpfs rw 0 0\n\
                    tmpfs /sys/fs/x tmpfs ro 0 0\noverlay /var/lib/docker/overlay2/a/merged overlay rw 0 0\n\
                    /dev/sdb /srv/my\\040data xfs ro,noatime 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n";
        let points: Vec<(String, bool)> = mounts(text).into_iter().map(|m| (m.point, m.read_only)).collect();
        assert_eq!(points, [("/".into(), false), ("/run".into(), false), ("/srv/my data".into(), true)]);
    }
}
