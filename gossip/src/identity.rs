//! Who this peer is, kept in the state directory from one run to the next. The only file of this
//! crate that touches the disk.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use libp2p_identity::Keypair;
use sha2::{Digest as _, Sha256};
use tempfile::{NamedTempFile, PersistError};

use crate::{Epoch, OriginId, PeerId};

/// The ed25519 key pair in libp2p's protobuf encoding. Mode 0600.
const KEY_FILE: &str = "identity.key";
/// The epoch of the last run, in decimal.
const EPOCH_FILE: &str = "epoch";
/// Locked while a peer runs.
const LOCK_FILE: &str = "lock";

/// Keeps what is derived from the key for one purpose apart from the rest.
const RUN_SECRET_DOMAIN: &[u8] = b"scope run secret 1";

/// A key takes 68 bytes, the largest epoch 20: a longer file is something else.
const FILE_BYTES_MAX: u64 = 256;

/// The key and epoch of this run. The state directory is locked for as long as this lives: two
/// peers with one key would overwrite each other on every host.
#[derive(Debug)]
pub struct Identity {
    keypair: Keypair,
    origin: OriginId,
    state_dir: PathBuf,
    _lock: File,
}

/// Why there is no identity. Each names the file and, where there is one, the way out.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The disk did not do as told.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process holds the lock.
    #[error("{} is in use by another scope: stop it or use another state directory", .0.display())]
    InUse(PathBuf),
    /// Others than the owner can read or write the key.
    #[error("{} is open to others (mode {mode:04o}): chmod 600 it", .path.display())]
    Permissions {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file holds something else.
    #[error("{} is not an ed25519 key: remove it to become a new peer", .0.display())]
    NotAKey(PathBuf),
    /// The epoch file holds something else.
    #[error(
        "{} is not an epoch: put a number there, higher than that of any earlier run",
        .0.display()
    )]
    NotAnEpoch(PathBuf),
    /// There is a key, but no epoch. To start over at 1 would have all peers ignore this one.
    #[error(
        "{} is missing: put a number there, higher than that of any earlier run, or remove {KEY_FILE} \
         to become a new peer",
        .0.display()
    )]
    EpochLost(PathBuf),
}

impl Identity {
    /// Takes the identity kept in `state_dir` for a new run, with the next epoch; makes the
    /// directory and a new identity if there is none. Blocks on the disk.
    ///
    /// # Errors
    /// [`IdentityError`]. An epoch may be used up then, nothing else is changed.
    pub fn open(state_dir: &Path) -> Result<Identity, IdentityError> {
        DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(failed("create", state_dir))?;
        let lock = lock(state_dir)?;
        let stored = read_key(state_dir)?;
        // The epoch is written first: a key without one then means that it was lost.
        let epoch = next_epoch(state_dir, stored.is_some())?;
        let keypair = match stored {
            Some(keypair) => keypair,
            None => create_key(state_dir)?,
        };
        let key_path = state_dir.join(KEY_FILE);
        let peer = PeerId::try_from(keypair.public()).map_err(|_| IdentityError::NotAKey(key_path))?;
        Ok(Identity { keypair, origin: OriginId { peer, epoch }, state_dir: state_dir.to_owned(), _lock: lock })
    }

    /// A secret of this run, the same each time it is asked for: for its dice and what it must not
    /// repeat in another run.
    #[must_use]
    pub fn run_secret(&self) -> [u8; 32] {
        let of_key = self.keypair.derive_secret(RUN_SECRET_DOMAIN).expect("an ed25519 key derives secrets");
        let run = Sha256::new().chain_update(of_key).chain_update(self.origin.epoch.0.to_le_bytes());
        run.finalize().into()
    }

    /// Goes on as a new run, later than `epoch`: others know one of that epoch which this is not. Blocks on the disk.
    ///
    /// # Errors
    /// [`IdentityError`]; the run stays as it is then.
    pub fn raise_epoch(&mut self, epoch: Epoch) -> Result<OriginId, IdentityError> {
        let path = self.state_dir.join(EPOCH_FILE);
        let Some(raised) = self.origin.epoch.max(epoch).0.checked_add(1) else {
            return Err(IdentityError::NotAnEpoch(path));
        };
        write_epoch(&path, raised)?;
        self.origin.epoch = Epoch(raised);
        Ok(self.origin)
    }

    /// This peer.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.origin.peer
    }

    /// This peer in this run.
    #[must_use]
    pub fn origin(&self) -> OriginId {
        self.origin
    }

    /// The key that proves it.
    #[must_use]
    pub fn keypair(&self) -> &Keypair {
        &self.keypair
    }
}

fn lock(state_dir: &Path) -> Result<File, IdentityError> {
    let path = state_dir.join(LOCK_FILE);
    let file = File::create(&path).map_err(failed("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(IdentityError::InUse(state_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
    }
}

fn read_key(state_dir: &Path) -> Result<Option<Keypair>, IdentityError> {
    let path = state_dir.join(KEY_FILE);
    let Some(Stored { bytes, mode }) = read_bounded(&path)? else {
        return Ok(None);
    };
    if mode & 0o077 != 0 {
        return Err(IdentityError::Permissions { path, mode });
    }
    match bytes.as_deref().map(Keypair::from_protobuf_encoding) {
        Some(Ok(keypair)) => Ok(Some(keypair)),
        _ => Err(IdentityError::NotAKey(path)),
    }
}

fn create_key(state_dir: &Path) -> Result<Keypair, IdentityError> {
    let keypair = Keypair::generate_ed25519();
    let bytes = keypair.to_protobuf_encoding().expect("an ed25519 key has an encoding");
    write_atomically(&state_dir.join(KEY_FILE), &bytes)?;
    Ok(keypair)
}

/// Counts the epoch up, on the disk, and returns it.
fn next_epoch(state_dir: &Path, has_key: bool) -> Result<Epoch, IdentityError> {
    let path = state_dir.join(EPOCH_FILE);
    let last = match read_bounded(&path)? {
        Some(stored) => stored.bytes.as_deref().and_then(parse_epoch),
        None if has_key => return Err(IdentityError::EpochLost(path)),
        None => Some(0),
    };
    let Some(epoch) = last.and_then(|last| last.checked_add(1)) else {
        return Err(IdentityError::NotAnEpoch(path));
    };
    write_epoch(&path, epoch)?;
    Ok(Epoch(epoch))
}

fn write_epoch(path: &Path, epoch: u64) -> Result<(), IdentityError> {
    write_atomically(path, format!("{epoch}\n").as_bytes())
}

fn parse_epoch(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.trim().parse().ok()
}

struct Stored {
    /// `None`: longer than [`FILE_BYTES_MAX`].
    bytes: Option<Vec<u8>>,
    /// Permission bits.
    mode: u32,
}

/// What is in a file, if there is one.
fn read_bounded(path: &Path) -> Result<Option<Stored>, IdentityError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", path)(error)),
    };
    let metadata = file.metadata().map_err(failed("inspect", path))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed("read", path))?;
    let fits = bytes.len() as u64 <= FILE_BYTES_MAX;
    Ok(Some(Stored { bytes: fits.then_some(bytes), mode: metadata.permissions().mode() & 0o7777 }))
}

/// Replaces a file with a new one of mode 0600: after a crash there is the old or the new one, whole.
fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    let dir = path.parent().expect("a file in the state directory");
    let write = || {
        let mut file = NamedTempFile::new_in(dir)?;
        file.as_file().set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|PersistError { error, .. }| error)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(failed("write", path))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    move |source| IdentityError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_restart_is_the_same_peer_in_the_next_epoch() {
        let dir = TempDir::new().unwrap();
        let state_dir = dir.path().join("not/yet/there");
        let first = Identity::open(&state_dir).unwrap().origin();
        let second = Identity::open(&state_dir).unwrap();
        assert_eq!(first.epoch, Epoch(1));
        assert_eq!(second.origin(), OriginId { epoch: Epoch(2), ..first });
        let signature = second.keypair().sign(b"said").unwrap();
        assert!(first.peer.verifies(b"said", &signature));
        assert_eq!(mode(&state_dir.join(KEY_FILE)), 0o600);
        assert_eq!(mode(&state_dir), 0o700);
    }

    #[test]
    fn a_run_can_be_raised_above_one_that_others_know() {
        let dir = TempDir::new().unwrap();
        let mut identity = Identity::open(dir.path()).unwrap();
        let secret = identity.run_secret();
        assert_eq!(secret, identity.run_secret());
        // known elsewhere, raised to
        for (known, want) in [(7, 8), (7, 9), (3, 10)] {
            assert_eq!(identity.raise_epoch(Epoch(known)).unwrap().epoch, Epoch(want));
        }
        assert_ne!(secret, identity.run_secret());
        assert!(matches!(identity.raise_epoch(Epoch(u64::MAX)), Err(IdentityError::NotAnEpoch(_))));
        drop(identity);
        assert_eq!(Identity::open(dir.path()).unwrap().origin().epoch, Epoch(11));
    }

    #[test]
    fn a_state_directory_has_one_peer_at_a_time() {
        let dir = TempDir::new().unwrap();
        let running = Identity::open(dir.path()).unwrap();
        let error = Identity::open(dir.path()).unwrap_err();
        assert!(matches!(error, IdentityError::InUse(_)), "{error}");
        drop(running);
        assert_eq!(Identity::open(dir.path()).unwrap().origin().epoch, Epoch(2));
    }

    #[test]
    fn a_spoilt_file_is_named_and_kept() {
        let long = vec![b'1'; 1 << 20];
        // file, what it holds (nothing: it is removed), its mode; the error
        let cases: [(&str, Option<&[u8]>, u32, &str); 10] = [
            (KEY_FILE, Some(b""), 0o600, "not an ed25519 key"),
            (KEY_FILE, Some(b"no key"), 0o600, "not an ed25519 key"),
            (KEY_FILE, Some(&long), 0o600, "not an ed25519 key"),
            (KEY_FILE, Some(b"no key"), 0o640, "open to others (mode 0640)"),
            (EPOCH_FILE, Some(b""), 0o600, "not an epoch"),
            (EPOCH_FILE, Some(b"-1"), 0o600, "not an epoch"),
            (EPOCH_FILE, Some(b"18446744073709551615"), 0o600, "not an epoch"),
            (EPOCH_FILE, Some(b"\xff\xfe"), 0o600, "not an epoch"),
            (EPOCH_FILE, Some(&long), 0o600, "not an epoch"),
            (EPOCH_FILE, None, 0o600, "missing"),
        ];
        for (file, contents, mode, want) in cases {
            let dir = TempDir::new().unwrap();
            drop(Identity::open(dir.path()).unwrap());
            let path = dir.path().join(file);
            fs::remove_file(&path).unwrap();
            if let Some(contents) = contents {
                fs::write(&path, contents).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            }
            let error = Identity::open(dir.path()).unwrap_err().to_string();
            let named = error.starts_with(&path.display().to_string());
            assert!(named && error.contains(want), "{error}, expected {path:?} {want}");
            assert_eq!(fs::read(&path).ok().as_deref(), contents, "{path:?}");
        }
    }

    #[test]
    fn what_the_system_refuses_is_named() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Identity::open(&file.join("state")).unwrap_err();
        assert!(error.to_string().starts_with("cannot create"), "{error}");

        fs::create_dir(dir.path().join(KEY_FILE)).unwrap();
        let error = Identity::open(dir.path()).unwrap_err();
        assert!(error.to_string().starts_with("cannot read"), "{error}");
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }
}
