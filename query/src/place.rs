//! Where a question is answered: where it is asked as long as that is short, and on a thread that may take its time once it is
//! not. To hand a small question over, and its answer back, takes longer than to answer it.

use std::{
    future::poll_fn,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use futures::FutureExt;

/// Longest that work stays where it was asked for, if it says nothing: it is moved where it yields next.
const HERE_MAX: Duration = Duration::from_millis(1);

/// Where some work is done, as the work sees it.
#[derive(Clone, Default)]
pub(crate) struct Place {
    /// Whether the work is on a thread of its own, or wants to be.
    is_apart: Arc<AtomicBool>,
}

impl Place {
    /// To be waited for before doing much without yielding: from then on the work is on a thread of its own.
    pub(crate) async fn move_apart(&self) {
        if self.is_apart.swap(true, Relaxed) {
            return;
        }
        let mut has_yielded = false;
        poll_fn(|context| match std::mem::replace(&mut has_yielded, true) {
            true => Poll::Ready(()),
            false => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
    }

    /// Does `work`, which knows this place; a panic there is an error with its message. Dropping the future drops the work if it is still
    /// here; apart it goes on until it finds out by itself.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, String> {
        let (mut work, began) = (Box::pin(AssertUnwindSafe(work).catch_unwind()), crate::querier::now());
        let here = poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if self.is_apart.load(Relaxed) || crate::querier::now() - began > HERE_MAX => {
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        });
        let result = match here.await {
            Some(result) => result,
            None => {
                self.is_apart.store(true, Relaxed);
                let runtime = tokio::runtime::Handle::current();
                let apart = tokio::task::spawn_blocking(move || runtime.block_on(work));
                apart.await.map_err(|ended| ended.to_string())?
            }
        };
        result.map_err(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panicked".to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn thread() -> std::thread::ThreadId {
        std::thread::current().id()
    }

    #[tokio::test]
    async fn short_work_stays_and_much_work_moves() {
        let place = Place::default();
        assert_eq!(place.run(async { thread() }).await.unwrap(), thread());
        let (here, inside) = (thread(), place.clone());
        let (before, after, later) = place
            .run(async move {
                let before = thread();
                inside.move_apart().await;
                let after = thread();
                inside.move_apart().await;
                (before, after, thread())
            })
            .await
            .unwrap();
        assert_eq!((before, later), (here, after));
        assert_ne!(after, here);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_wherever_it_happens() {
        let place = Place::default();
        assert_eq!(place.run(async { panic!("here") }).await, Err::<(), _>("here".to_owned()));
        let inside = place.clone();
        let work = async move {
            inside.move_apart().await;
            panic!("{}", "apart")
        };
        assert_eq!(place.run(work).await, Err::<(), _>("apart".to_owned()));
    }

    #[tokio::test]
    async fn what_has_taken_long_moves_where_it_yields() {
        let here = thread();
        let works = async move {
            let end = crate::querier::now() + 2 * HERE_MAX;
            while crate::querier::now() < end {
                std::hint::spin_loop();
            }
            let before = thread();
            tokio::task::yield_now().await;
            (before, thread())
        };
        let (before, after) = Place::default().run(works).await.unwrap();
        assert_eq!(before, here);
        assert_ne!(after, here);
    }
}
