//! `scope secret`: the secret that closes a mesh.

use anyhow::Result;
use node::secret::Secret;

use crate::say::say;

/// Prints a new secret, and nothing else: it is meant for a file.
pub(crate) fn new() -> Result<()> {
    say(Secret::generate()?.reveal())
}
