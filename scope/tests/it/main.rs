//! The program, started as a user does, without a probe: neither root nor Docker.

mod closed_pipe;
