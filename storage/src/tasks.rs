//! Work that must not hold up the async threads, and work that must not be cut off half-way.

use tokio::task::JoinError;

#[cfg(test)]
use crate::simulation::world;

/// Runs `work` on a thread where it may block, and waits for it.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    #[cfg(test)]
    if let Some(world) = world::current() {
        world.pause().await;
        let done = work();
        world.pause().await;
        return done;
    }
    joined(tokio::task::spawn_blocking(work).await).await
}

/// Runs `work` to its end even if the caller goes away meanwhile.
pub(crate) async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    #[cfg(test)]
    if let Some(world) = world::current() {
        let (tx, done) = tokio::sync::oneshot::channel();
        // The caller may be gone by then.
        world.spawn(async move { drop(tx.send(work.await)) });
        return done.await.expect("a task of the simulation ends with its answer");
    }
    joined(tokio::spawn(work).await).await
}

/// A panic of the work is a bug and goes on here. If the runtime is being shut down, this never returns, as nothing does then.
async fn joined<T>(result: Result<T, JoinError>) -> T {
    match result {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => std::future::pending().await,
    }
}
