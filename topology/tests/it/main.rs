//! Views, details and resolution on small clusters written as text, and the law that a view which follows the cluster is
//! the view drawn from scratch.

mod details;
mod drawn;
mod edges;
mod fixture;
mod incremental;
mod life;
mod outside;
mod relations;
mod report;
mod resolution;
mod views;
