//! States of the host: file systems on loop devices, processes in a memory control group, sockets nobody accepts from.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::{TcpSocket, TcpStream};

use super::stage::{Stage, command};

const MEMORY_GROUPS: &str = "/sys/fs/cgroup/memory";
const FILE_MAX: &str = "/proc/sys/fs/file-max";

/// A small ext4 file system of its own, unmounted when dropped.
pub struct LoopMount {
    image: PathBuf,
    /// Where it is mounted.
    pub point: PathBuf,
}

impl LoopMount {
    /// Makes and mounts one below `folder`.
    pub fn new(folder: &Path, name: &str, megabytes: u64, inodes: u32) -> anyhow::Result<LoopMount> {
        let (image, point) = (folder.join(format!("{name}.img")), folder.join(name));
        fs::File::create(&image)?.set_len(megabytes << 20)?;
        fs::create_dir(&point)?;
        let (image_text, point_text) = (image.display().to_string(), point.display().to_string());
        command(&["mkfs.ext4", "-q", "-F", "-m", "0", "-N", &inodes.to_string(), &image_text])?;
        command(&["mount", "-o", "loop", &image_text, &point_text])?;
        Ok(LoopMount { image, point })
    }

    fn remount(&self, how: &str) -> anyhow::Result<()> {
        command(&["mount", "-o", &format!("remount,{how}"), &self.point.display().to_string()])
    }
}

impl Drop for LoopMount {
    fn drop(&mut self) {
        let _ = command(&["umount", "-l", &self.point.display().to_string()]);
        let _ = fs::remove_file(&self.image);
    }
}

/// Processes ended when dropped.
#[derive(Default)]
struct Children(Vec<Child>);

impl Children {
    fn shell(&mut self, script: &str) -> anyhow::Result<()> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).process_group(0);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        self.0.push(child);
        Ok(())
    }

    fn end(&mut self) {
        for mut child in self.0.drain(..) {
            if let Some(group) = Pid::from_raw(child.id() as i32) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait();
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.end();
    }
}

/// What holds the host's states.
pub struct HostStates {
    full: LoopMount,
    crowded: LoopMount,
    stiff: LoopMount,
    busy: Children,
    group: PathBuf,
    file_max: String,
    memory: Vec<u8>,
}

impl Drop for HostStates {
    fn drop(&mut self) {
        let _ = fs::write(FILE_MAX, &self.file_max);
        self.busy.end();
        let _ = fs::remove_dir(&self.group);
    }
}

/// File systems that are there before, so that a change of theirs is seen.
pub fn prepare(stage: &Stage) -> anyhow::Result<HostStates> {
    let folder = stage.folder.path();
    let group = PathBuf::from(MEMORY_GROUPS).join(format!("tidewatch-states-{}", std::process::id()));
    fs::create_dir(&group)?;
    fs::write(group.join("memory.limit_in_bytes"), (40 << 20).to_string())?;
    Ok(HostStates {
        full: LoopMount::new(folder, "full", 32, 1024)?,
        crowded: LoopMount::new(folder, "crowded", 32, 256)?,
        stiff: LoopMount::new(folder, "stiff", 32, 1024)?,
        busy: Children::default(),
        group,
        file_max: fs::read_to_string(FILE_MAX)?.trim().to_owned(),
        memory: Vec::new(),
    })
}

/// Share of this machine's memory in use, percent.
pub fn memory_used_percent() -> f64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let of = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    match (of("MemAvailable:"), of("MemTotal:")) {
        (Some(available), Some(total)) => 100.0 * (1.0 - available / total),
        _ => 0.0,
    }
}

fn memory_total_bytes() -> usize {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:")).unwrap_or("");
    line.split_whitespace().next().and_then(|w| w.parse::<usize>().ok()).unwrap_or(1 << 22) * 1024
}

/// Rules of [`make`].
pub const RULES: [&str; 8] = [
    "DiskFilling",
    "InodesFilling",
    "FilesystemReadOnly",
    "MemoryShort",
    "OomKill",
    "CpuSaturated",
    "ListenQueueOverflow",
    "FileHandlesNearMax",
];

/// Makes every state of the host.
pub async fn make(stage: &Stage, states: &mut HostStates) -> anyhow::Result<()> {
    let board = &stage.board;
    fs::write(states.full.point.join("ballast"), vec![1u8; 26 << 20])?;
    board.made("DiskFilling", Some("/full"), "a 32 MB file system on a loop device is filled to 90 %").await;
    for i in 0..240 {
        fs::write(states.crowded.point.join(i.to_string()), "")?;
    }
    board.made("InodesFilling", Some("/crowded"), "240 empty files on a file system of 256 inodes").await;
    states.stiff.remount("ro")?;
    board.made("FilesystemReadOnly", Some("/stiff"), "a file system is remounted read-only").await;
    states.memory = vec![1u8; memory_total_bytes() / 7];
    board.made("MemoryShort", None, "a seventh of the machine's memory is taken and written to").await;
    let group = states.group.join("cgroup.procs").display().to_string();
    states.busy.shell(&format!("echo $$ > {group}; head -c 200M /dev/zero | tail"))?;
    board.made("OomKill", None, "a process in a control group of 40 MB wants 200 MB").await;
    for _ in 0..std::thread::available_parallelism()?.get() + 1 {
        states.busy.shell("exec nice -n 19 sh -c 'while :; do :; done'")?;
    }
    board.made("CpuSaturated", None, "a busy loop for each processor").await;
    overflow().await?;
    board
        .made("ListenQueueOverflow", None, "40 connects to a socket with a backlog of 1 that nobody accepts from")
        .await;
    let open: u64 = fs::read_to_string("/proc/sys/fs/file-nr")?.split_whitespace().next().unwrap_or("1000").parse()?;
    fs::write(FILE_MAX, (open * 10).max(20_000).to_string())?;
    board.made("FileHandlesNearMax", None, "fs.file-max is lowered to ten times the files open").await;
    Ok(())
}

/// Rules of [`squeeze`] and [`read_directly`].
pub const SQUEEZED: [&str; 3] = ["MemoryPressure", "IoPressure", "DiskSlow"];

/// All work waits for memory: while anything else runs, or waits for something else, it does not.
pub async fn squeeze(stage: &Stage, states: &mut HostStates) -> anyhow::Result<()> {
    let board = &stage.board;
    let group = states.group.join("cgroup.procs").display().to_string();
    let big = stage.path("big").display().to_string();
    states.busy.shell(&format!("echo $$ > {group}; head -c 150M /dev/zero > {big}; while :; do cat {big}; done"))?;
    board
        .made("MemoryPressure", None, "a process in a control group of 40 MB reads a file of 150 MB over and over")
        .await;
    Ok(())
}

/// Readers at once, enough for a queue before a fast disk.
const READERS: usize = 24;

/// All work waits for disks.
pub async fn read_directly(stage: &Stage, states: &mut HostStates) -> anyhow::Result<()> {
    let board = &stage.board;
    let file = stage.path("direct");
    fs::write(&file, vec![0; 64 << 20])?;
    for _ in 0..READERS {
        let file = file.display();
        states.busy.shell(&format!("while :; do dd if={file} of=/dev/null bs=1M iflag=direct 2>/dev/null; done"))?;
    }
    board.made("IoPressure", None, "24 readers go past the cache, a megabyte at once").await;
    board.made("DiskSlow", None, "the same readers").await;
    Ok(())
}

/// Ends them.
pub async fn relax(stage: &Stage, states: &mut HostStates) {
    states.busy.end();
    stage.board.healed(&SQUEEZED).await;
}

/// Ends what [`make`] made.
pub async fn heal(stage: &Stage, states: &mut HostStates) -> anyhow::Result<()> {
    states.busy.end();
    fs::write(FILE_MAX, &states.file_max)?;
    fs::remove_file(states.full.point.join("ballast"))?;
    for i in 0..240 {
        fs::remove_file(states.crowded.point.join(i.to_string()))?;
    }
    states.stiff.remount("rw")?;
    states.memory = Vec::new();
    stage.board.healed(&RULES).await;
    Ok(())
}

/// More connections than the listener's queue takes; each ends by itself.
async fn overflow() -> anyhow::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let listener = socket.listen(1)?;
    let address = listener.local_addr()?;
    let connect = |_| tokio::time::timeout(Duration::from_secs(4), TcpStream::connect(address));
    let held = futures::future::join_all((0..40).map(connect)).await;
    drop((held, listener));
    Ok(())
}
