//! Long tasks in the life of an app.

use super::parts::Part;
use crate::task::Tasks;
use async_trait::async_trait;
use tokio::time::Instant;

#[async_trait]
impl Part for Tasks {
    async fn drain(&mut self, until: Instant) -> Vec<String> {
        self.stopped(until).await
    }
}
