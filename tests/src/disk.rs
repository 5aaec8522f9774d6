//! A small file system of its own: an image on a loop device, unmounted when dropped. Needs root.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
};

use anyhow::ensure;

/// What fills it.
const BALLAST: &str = "ballast";

/// A mounted file system.
pub struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// Makes one of `size_bytes` and mounts it.
    pub fn mount(size_bytes: u64) -> anyhow::Result<Disk> {
        let folder = tempfile::Builder::new().prefix("tw-disk-").tempdir()?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        let (image, point) = (folder.path().join("image"), folder.path().join("archive"));
        File::create(&image)?.set_len(size_bytes)?;
        std::fs::create_dir(&point)?;
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).args([&image, &point]))?;
        Ok(Disk { folder })
    }

    /// Writes until there is no room at all.
    pub fn fill(&self) -> io::Result<()> {
        let mut ballast = File::create(self.point().join(BALLAST))?;
        let mut piece = vec![1; 1 << 20];
        while !piece.is_empty() {
            match ballast.write_all(&piece).and_then(|()| ballast.sync_data()) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::StorageFull => piece.truncate(piece.len() / 2),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Gives back what [`Disk::fill`] took.
    pub fn free(&self) -> io::Result<()> {
        std::fs::remove_file(self.point().join(BALLAST))
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
