//! The methods, a file each.

mod aligned_mtl;
mod cagrad;
mod gradient_vaccine;
mod gradnorm;
mod imtl_g;
mod mgda;
mod nash_mtl;
mod pcgrad;
mod projection;
mod simplex;
mod spectrum;
mod sum;
mod uncertainty;

pub use aligned_mtl::{AlignedMtl, Scale};
pub use cagrad::CaGrad;
pub use gradient_vaccine::GradientVaccine;
pub use gradnorm::GradNorm;
pub use imtl_g::ImtlG;
pub use mgda::Mgda;
pub use nash_mtl::NashMtl;
pub use pcgrad::PcGrad;
pub use sum::Sum;
pub use uncertainty::Uncertainty;
