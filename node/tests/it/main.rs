//! Probes on recorded trees and on this machine's own.

mod conntrack;
mod ebpf;
mod host;
mod names;
mod process;
mod tree;
