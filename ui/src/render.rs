//! Where rendering runs. A large view takes tens of milliseconds: long enough that the workers which drive sockets and the
//! mesh should not be the ones that wait for it.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::task::block_in_place;

/// Requests that render at a time; more wait for their turn, up to the time a request may take.
const RENDERS_MAX: usize = 4;

/// Turns to render for a request.
#[derive(Debug)]
pub(crate) struct Renders(Semaphore);

impl Default for Renders {
    fn default() -> Self {
        Self(Semaphore::new(RENDERS_MAX))
    }
}

impl Renders {
    /// Waits for a turn and renders.
    pub(crate) async fn run<R>(&self, work: impl FnOnce() -> R) -> R {
        let _turn = self.0.acquire().await.expect("nobody closes the semaphore");
        blocking(work)
    }
}

/// Renders here and now, after the runtime has given this worker's other tasks to another thread.
pub(crate) fn blocking<R>(work: impl FnOnce() -> R) -> R {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => block_in_place(work),
        _ => work(),
    }
}
