//! In place of the tracer in a binary that has no BPF program: there can be none.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use topology::{Netns, ProcessId};

use super::{Drained, Ended, LoadError, ReadError};

/// A BPF program at work: in this binary, none.
#[derive(Debug)]
pub struct Tracer(Infallible);

/// Where it says that there is something new: never.
#[derive(Debug)]
pub struct News(Infallible);

impl Tracer {
    /// Says why this binary has no program.
    ///
    /// # Errors
    /// Always.
    pub fn load(_proc_root: &Path) -> Result<(Self, News), LoadError> {
        Err(LoadError::NotBuilt(env!("BPF_PROGRAM_MISSING")))
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn drain(&mut self, _ended: &mut Vec<Ended>) -> Result<Drained, ReadError> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn holders(&mut self, _holders: &mut Vec<(u64, ProcessId)>) -> Result<bool, ReadError> {
        match self.0 {}
    }
}

impl News {
    /// Never called.
    pub fn clear(&mut self) -> Vec<Netns> {
        match self.0 {}
    }
}

impl AsFd for News {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.0 {}
    }
}
