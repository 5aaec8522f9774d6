//! What every source is given, and the desk where it takes requests to read something now.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{clock::Clock, config::LogConfig, outlet::Outlet};

/// Requests one source holds before further ones are refused.
const REQUESTS_WAITING_MAX: usize = 16;
/// Longest wait for a source to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Log files announced and not yet taken up by the log reader.
pub(crate) const LOG_FILES_WAITING_MAX: usize = 256;

/// What every source is given. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where rows go.
    pub outlet: Outlet,
    /// What time it is.
    pub clock: Clock,
    /// Cancelled when the collector stops; a source returns soon after.
    pub shutdown: CancellationToken,
    /// The name of this host: `instance` of its metrics.
    pub host: Arc<str>,
    /// Where a source takes requests.
    pub desk: Desk,
    /// Where a database announces the log files its server writes, as often as it likes: what is read already stays so.
    pub log_files: mpsc::Sender<LogConfig>,
}

/// What the server may ask to be read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Sessions, waits, blockers.
    Activity,
    /// Statement statistics.
    Statements,
    /// The plan of one statement.
    Plan,
}

impl What {
    /// The wire's word.
    pub fn from_word(word: &str) -> Option<What> {
        match word {
            "activity" => Some(What::Activity),
            "statements" => Some(What::Statements),
            "plan" => Some(What::Plan),
            _ => None,
        }
    }
}

/// A request to read something now: send the rows through the outlet, then reply.
#[derive(Debug)]
pub struct Request {
    /// What to read.
    pub what: Vec<What>,
    /// With [`What::Plan`]: of which statement.
    pub fingerprint: Option<Arc<str>>,
    /// To say that it is done, or why not.
    pub reply: oneshot::Sender<Result<(), String>>,
}

/// Routes requests to the source that watches an instance. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Desk {
    open: Arc<Mutex<HashMap<Arc<str>, mpsc::Sender<Request>>>>,
}

impl Desk {
    /// Opens the desk for an instance; a later call for the same instance replaces the earlier.
    pub fn open(&self, instance: &str) -> mpsc::Receiver<Request> {
        let (sender, receiver) = mpsc::channel(REQUESTS_WAITING_MAX);
        self.open.lock().insert(instance.into(), sender);
        receiver
    }

    /// Closes the desks whose source ended, and gives their instances.
    pub fn close_ended(&self) -> Vec<Arc<str>> {
        let mut open = self.open.lock();
        let ended: Vec<Arc<str>> = open.iter().filter(|(_, s)| s.is_closed()).map(|(i, _)| i.clone()).collect();
        open.retain(|_, sender| !sender.is_closed());
        ended
    }

    /// Asks the source of an instance and waits until its rows are in the outlet.
    pub async fn ask(&self, instance: &str, what: Vec<What>, fingerprint: Option<Arc<str>>) -> Result<(), String> {
        let sender = self.open.lock().get(instance).cloned();
        let sender = sender.ok_or_else(|| format!("instance {instance:?} is not watched here"))?;
        let (reply, answer) = oneshot::channel();
        sender.try_send(Request { what, fingerprint, reply }).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => format!("{REQUESTS_WAITING_MAX} requests wait for {instance:?}"),
            mpsc::error::TrySendError::Closed(_) => format!("instance {instance:?} is no longer watched here"),
        })?;
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(format!("the source of {instance:?} gave the request up")),
            Err(_) => Err(format!("no answer from {instance:?} within {} s", ANSWER_TIMEOUT.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn requests_reach_the_source_of_their_instance() {
        let desk = Desk::default();
        assert!(desk.ask("db1", vec![What::Activity], None).await.unwrap_err().contains("not watched"));
        let mut requests = desk.open("db1");
        let asking = tokio::spawn({
            let desk = desk.clone();
            async move { desk.ask("db1", vec![What::Plan], Some("f".into())).await }
        });
        let request = requests.recv().await.unwrap();
        assert_eq!((request.what, request.fingerprint.as_deref()), (vec![What::Plan], Some("f")));
        request.reply.send(Err("no right".into())).unwrap();
        assert_eq!(asking.await.unwrap(), Err("no right".into()));
        drop(requests);
        assert!(desk.ask("db1", vec![], None).await.unwrap_err().contains("no longer"));
    }
}
