//! File formats. Every reader checks what it reads: a truncated, oversized or foreign file is an error that names the
//! file and what is wrong with it.

pub mod cifar;
pub mod idx;
pub mod npy;
#[cfg(feature = "parquet")]
pub mod parquet;
pub mod picture;
pub mod table;
