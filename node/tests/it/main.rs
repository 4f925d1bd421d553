//! Probes on recorded trees and on this machine's own.

mod host;
mod process;
mod tree;
