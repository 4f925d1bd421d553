//! Views, details and resolution on small clusters written as text, and the law that a view which follows the cluster is
//! the view drawn from scratch.

mod details;
mod fixture;
mod incremental;
mod life;
mod resolution;
mod views;
