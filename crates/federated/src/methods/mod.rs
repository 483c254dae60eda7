//! The methods, a file each.

mod fedavg;
mod feddc;
mod feddyn;
mod fednova;
mod fedopt;
mod fedprox;
mod scaffold;

pub use fedavg::FedAvg;
pub use feddc::FedDc;
pub use feddyn::FedDyn;
pub use fednova::FedNova;
pub use fedopt::{FedOpt, ServerOptimizer};
pub use fedprox::FedProx;
pub use scaffold::Scaffold;
