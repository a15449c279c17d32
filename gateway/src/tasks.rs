//! The one place that starts tasks, so that every task is told to stop and its end is seen.
//!
//! A [`Tasks`] is a group: its tasks are counted by name, a panic in one of them is reported, and [`Tasks::finish`]
//! waits for all of them. It knows nothing of what the tasks do.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A group of tasks that stop together. Clones are the same group.
#[derive(Clone)]
pub struct Tasks {
    inner: Arc<Inner>,
}

struct Inner {
    /// How many tasks of each name run.
    running: Mutex<BTreeMap<&'static str, usize>>,
    /// How many tasks run, to wait for none.
    count: watch::Sender<usize>,
    stop: watch::Sender<bool>,
}

/// Told when the group is to stop. Clones hear the same call.
#[derive(Clone)]
pub struct Stop {
    called: watch::Receiver<bool>,
}

/// Some tasks did not end in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tasks did not end in time: {}", names.join(", "))]
pub struct Unfinished {
    pub names: Vec<&'static str>,
}

impl Tasks {
    pub fn new() -> Self {
        let inner = Inner {
            running: Mutex::default(),
            count: watch::Sender::new(0),
            stop: watch::Sender::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Starts a task. It goes on when the handle is dropped; a panic in it is reported once, here.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        spawn(self, name, future)
    }

    pub fn stop(&self) -> Stop {
        Stop { called: self.inner.stop.subscribe() }
    }

    /// Tells every task that holds a [`Stop`] to end. Returns at once.
    pub fn call_stop(&self) {
        self.inner.stop.send_replace(true);
    }

    /// How many tasks run now.
    pub fn running(&self) -> usize {
        *self.inner.count.borrow()
    }

    /// Waits until no task runs, or until `limit` has passed. Does not tell them to stop.
    pub async fn finish(&self, limit: Duration) -> Result<(), Unfinished> {
        let mut count = self.inner.count.subscribe();
        let none = count.wait_for(|count| *count == 0);
        let ended = tokio::time::timeout(limit, none).await.is_ok();
        if ended { Ok(()) } else { Err(Unfinished { names: self.inner.names() }) }
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

/// Starts a task in a group; see [`Tasks::spawn`].
#[expect(clippy::disallowed_methods, reason = "this is the place that every other place must go through")]
pub fn spawn<F>(tasks: &Tasks, name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let running = Running::enter(tasks.inner.clone(), name);
    tokio::spawn(async move {
        let _running = running;
        future.await
    })
}

impl Stop {
    /// Returns when the group is told to stop; at once if it already was.
    pub async fn called(&mut self) {
        // An error means that the group is gone: then nobody is left who could want us to go on.
        let _gone = self.called.wait_for(|called| *called).await;
    }

    pub fn is_called(&self) -> bool {
        *self.called.borrow()
    }
}

/// Counts a task for as long as it lives, however it ends.
struct Running {
    inner: Arc<Inner>,
    name: &'static str,
}

impl Running {
    fn enter(inner: Arc<Inner>, name: &'static str) -> Self {
        let mut running = inner.running.lock().unwrap_or_else(PoisonError::into_inner);
        let count = running.entry(name).or_default();
        *count = count.saturating_add(1);
        drop(running);
        inner.count.send_modify(|count| *count = count.saturating_add(1));
        Self { inner, name }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.name, "a task panicked");
        }
        let mut running = self.inner.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(self.name) {
            *count = count.saturating_sub(1);
        }
        drop(running);
        self.inner.count.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl Inner {
    fn names(&self) -> Vec<&'static str> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().filter(|(_, count)| **count > 0).map(|(name, _)| *name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_task_is_told_to_stop_and_its_end_is_seen() {
        let tasks = Tasks::new();
        let mut stop = tasks.stop();
        tasks.spawn("waits", async move { stop.called().await });
        assert_eq!(tasks.running(), 1);
        tasks.call_stop();
        assert_eq!(tasks.finish(Duration::from_secs(5)).await, Ok(()));
    }

    #[tokio::test]
    async fn a_task_that_does_not_end_is_named() {
        let tasks = Tasks::new();
        tasks.spawn("deaf", std::future::pending::<()>());
        let unfinished = tasks.finish(Duration::from_millis(10)).await;
        assert_eq!(unfinished, Err(Unfinished { names: vec!["deaf"] }));
    }

    #[tokio::test]
    async fn a_panic_is_an_end_too() {
        let tasks = Tasks::new();
        let handle = tasks.spawn("panics", async { panic!("on purpose") });
        assert!(handle.await.is_err());
        assert_eq!(tasks.finish(Duration::from_secs(5)).await, Ok(()));
    }
}
