//! A child process that does not outlive whoever started it.

use std::{
    io,
    net::TcpListener,
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// How long a server may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Until somebody asks this program to end, by Ctrl-C or SIGTERM.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Owns a child; a drop stops it.
pub struct Guard {
    child: Child,
    stop: Signal,
}

impl Guard {
    /// Starts a command; `stop` is the signal that asks it to end.
    pub fn start(command: &mut Command, stop: Signal) -> io::Result<Guard> {
        Ok(Guard { child: command.spawn()?, stop })
    }

    /// The same with what it prints, for which `command` has a pipe.
    pub fn start_piped(command: &mut Command, stop: Signal) -> io::Result<(Guard, ChildStdout)> {
        let mut guard = Guard::start(command, stop)?;
        let out = guard.child.stdout.take().ok_or_else(|| io::Error::other("its output is no pipe"))?;
        Ok((guard, out))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Asks it to end, waits, and kills it if it does not.
    pub fn stop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        self.signal(self.stop);
        if wait::until_blocking(STOP_TIMEOUT, || self.ended()).is_none() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port of loopback that nobody listens on. Somebody may take it before its user does; the user then fails to start.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Whether we are root: servers then run as their package's account.
pub fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// Gives a folder to an account of the system.
pub fn give(path: &Path, account: &str) -> io::Result<()> {
    let status = Command::new("chown").arg("-R").arg(format!("{account}:")).arg(path).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("chown {account} {}: {status}", path.display())))
    }
}
