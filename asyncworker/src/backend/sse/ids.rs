//! Where the ids of handled events are kept over a restart.

use crate::handler::Failure;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps the id of the last event of each stream that is done with, together with all before it: where a stream is
/// resumed after the app was started again.
///
/// A stream goes by the name of its route and its URL (without user and password). An id is saved soon after it has
/// changed, and once more when the app stops; between two saves of a stream the latest wins. What an app handled and did
/// not save before it was killed is handled again.
///
/// [`EventIdFile`] is one; another may use whatever the app has a connection to.
#[async_trait]
pub trait EventIds: Send + Sync + 'static {
    /// The id that was saved last; `None` where none was.
    ///
    /// # Errors
    /// What keeps the ids cannot tell. It is asked again after a pause, and nothing is consumed before it has answered:
    /// to begin anew could lose events.
    async fn load(&self, route: &str, url: &str) -> Result<Option<String>, Failure>;

    /// Keeps an id in place of the one before; it is to be there after a crash when this returns.
    ///
    /// # Errors
    /// What keeps the ids cannot take it. It is tried again after a pause; events go on meanwhile.
    ///
    /// # Cancel safety
    /// May be dropped halfway: the id is then kept, or the one before.
    async fn save(&self, route: &str, url: &str, id: &str) -> Result<(), Failure>;
}

/// Ids in a JSON file, by route and URL, for one app at a time.
///
/// The file is replaced as a whole: written beside it, synced to the disk and moved into its place, so that a crash, also
/// of the machine, leaves the old one or the new one. A file that is not there is an empty one; its folder must exist.
#[derive(Clone)]
pub struct EventIdFile {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    /// What the file holds, once it was read. Locked while it is written, so that no two writes mix.
    ids: Mutex<Option<Ids>>,
}

/// By route, then by URL.
type Ids = BTreeMap<String, BTreeMap<String, String>>;

impl fmt::Debug for EventIdFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventIdFile").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl EventIdFile {
    /// The file at this path; it is read and written when the app runs. A clone is the same file, two of the same path
    /// would overwrite each other's ids.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { shared: Arc::new(Shared { path: path.into(), ids: Mutex::default() }) }
    }

    /// Does something with the ids where it may block.
    async fn with_ids<R: Send + 'static>(
        &self,
        with: impl FnOnce(&Path, &mut Ids) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, Failure> {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || {
            let mut ids = shared.ids.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *ids {
                Some(ids) => with(&shared.path, ids),
                none => with(&shared.path, none.insert(read(&shared.path)?)),
            }
        });
        done.await?
    }
}

#[async_trait]
impl EventIds for EventIdFile {
    async fn load(&self, route: &str, url: &str) -> Result<Option<String>, Failure> {
        let (route, url) = (route.to_owned(), url.to_owned());
        self.with_ids(move |_, ids| Ok(ids.get(&route).and_then(|of_route| of_route.get(&url)).cloned())).await
    }

    async fn save(&self, route: &str, url: &str, id: &str) -> Result<(), Failure> {
        let (route, url, id) = (route.to_owned(), url.to_owned(), id.to_owned());
        self.with_ids(move |path, ids| {
            ids.entry(route).or_default().insert(url, id);
            write(path, ids)
        })
        .await
    }
}

fn read(path: &Path) -> Result<Ids, Failure> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| Failure::new(format!("{} does not hold ids of events: {error}", path.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Ids::new()),
        Err(error) => Err(Failure::new(format!("cannot read {}: {error}", path.display()))),
    }
}

fn write(path: &Path, ids: &Ids) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let text = serde_json::to_vec_pretty(ids)?;
    let written = (|| {
        let mut file = File::create(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_folder(path)
    })();
    written.map_err(|error: std::io::Error| Failure::new(format!("cannot write {}: {error}", path.display())))
}

/// A move is on the disk when its folder is.
#[cfg(unix)]
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be opened as a file.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own for a test, deleted in the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("asyncworker-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn ids_are_there_again_by_route_and_url() {
        let folder = Folder::new("ids");
        let path = folder.0.join("ids.json");
        let file = EventIdFile::new(&path);
        assert_eq!(file.load("a", "http://x/").await.unwrap(), None);
        file.save("a", "http://x/", "1").await.unwrap();
        file.save("a", "http://y/", "2").await.unwrap();
        file.save("b", "http://x/", "3").await.unwrap();
        file.save("a", "http://x/", "4\u{2026}\"").await.unwrap();
        assert_eq!(file.load("a", "http://x/").await.unwrap().as_deref(), Some("4…\""));
        let again = EventIdFile::new(&path);
        assert_eq!(again.load("a", "http://x/").await.unwrap().as_deref(), Some("4…\""));
        assert_eq!(again.load("a", "http://y/").await.unwrap().as_deref(), Some("2"));
        assert_eq!(again.load("b", "http://x/").await.unwrap().as_deref(), Some("3"));
        assert!(!path.with_extension("json.new").exists());
    }

    #[tokio::test]
    async fn a_file_of_something_else_is_an_error_that_names_it_and_is_left_alone() {
        let folder = Folder::new("no-ids");
        let path = folder.0.join("ids.json");
        fs::write(&path, "[1]").unwrap();
        let file = EventIdFile::new(&path);
        for failed in [file.load("a", "b").await.map(|_| ()), file.save("a", "b", "c").await] {
            assert!(failed.unwrap_err().to_string().contains("ids.json"));
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "[1]");
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_an_error_that_names_the_file() {
        let folder = Folder::new("no-folder");
        let file = EventIdFile::new(folder.0.join("nowhere/ids.json"));
        assert_eq!(file.load("a", "b").await.unwrap(), None);
        assert!(file.save("a", "b", "c").await.unwrap_err().to_string().contains("nowhere"));
    }
}
