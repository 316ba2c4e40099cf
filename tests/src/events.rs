//! What asyncworker logs within a test's own process.

use std::io;
use std::sync::{Arc, LazyLock, Mutex};
use tracing_subscriber::fmt::MakeWriter;

static ALL: LazyLock<Events> = LazyLock::new(|| {
    let events = Events::default();
    let writer = events.clone();
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false).with_writer(writer).init();
    events
});

/// The lines that all tests of this process log, spans and fields included.
#[derive(Debug, Clone, Default)]
pub struct Events(Arc<Mutex<Vec<u8>>>);

impl Events {
    /// Listens from now on.
    pub fn listen() -> Self {
        ALL.clone()
    }

    /// The lines that contain all of these.
    pub fn lines(&self, with: &[&str]) -> Vec<String> {
        let bytes = self.0.lock().unwrap();
        let text = String::from_utf8_lossy(&bytes);
        text.lines().filter(|line| with.iter().all(|part| line.contains(part))).map(str::to_owned).collect()
    }
}

impl io::Write for Events {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Events {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
