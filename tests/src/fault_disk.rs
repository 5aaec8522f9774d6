//! A small file system of its own: an image on a loop device, unmounted when dropped. Needs root.

use std::{os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use anyhow::ensure;

use crate::process::give;

/// Its size.
const DISK_BYTES: u64 = 240 << 20;

/// A mounted file system.
pub struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// Makes and mounts it; its folder `tables` belongs to PostgreSQL's account.
    pub fn mount() -> anyhow::Result<Disk> {
        let folder = tempfile::Builder::new().prefix("tw-disk-").tempdir()?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        let (image, point) = (folder.path().join("image"), folder.path().join("archive"));
        std::fs::File::create(&image)?.set_len(DISK_BYTES)?;
        std::fs::create_dir(&point)?;
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).args([&image, &point]))?;
        let disk = Disk { folder };
        std::fs::create_dir(disk.point().join("tables"))?;
        give(&disk.point().join("tables"), "postgres")?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn point(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    /// Share of it that is used.
    pub fn used(&self) -> anyhow::Result<f64> {
        let stat = rustix::fs::statvfs(self.point())?;
        Ok(1.0 - stat.f_bavail as f64 / stat.f_blocks as f64)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(self.point()));
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let out = command.output()?;
    ensure!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}
