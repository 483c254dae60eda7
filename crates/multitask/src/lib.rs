//! One gradient from several tasks'.
//!
//! Tasks that share a network pull its parameters in different directions. Every method here looks at the tasks' gradients
//! through their Gram matrix G = [⟨gᵢ, gⱼ⟩] alone and answers with coefficients c, the update being Σ cᵢgᵢ: all dot products
//! are taken in one sweep over the gradients and the sum in a second one, so T gradients of P numbers are read twice and P
//! numbers written, whatever the method; altered gradients of single tasks are never made.
//!
//! ```
//! use lyceum_core::Seed;
//! use lyceum_multitask::{Gradients, Method};
//!
//! // Two gradients that conflict: their cosine is −0.71. PCGrad takes the conflict out.
//! let (a, b) = ([1.0_f32, 0.0], [-1.0_f32, 1.0]);
//! let gradients = Gradients::whole(&[&a, &b]).unwrap();
//! let mut combiner = Method::PcGrad.combiner(2, 1).unwrap();
//! let (mut update, seed) = ([0.0; 2], Seed::new(0));
//! combiner.combine(&gradients, None, seed, &mut [&mut update]).unwrap();
//! assert_eq!(update, [0.5, 1.5]);
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`gradients`] | [`Gradients`]: what is combined, in groups |
//! | [`gram`] | the two sweeps: Gram matrices, weighted sums |
//! | [`combiner`] | [`Combiner`]: a method with its state |
//! | [`method`] | [`Method`]: every method by configuration |
//! | [`combiners`] | the methods, a file each |
//! | [`similarity`] | how alike the gradients of tasks are: matrix, dendrogram, correlation with given distances |

pub mod combiner;
pub mod combiners;
pub mod gradients;
pub mod gram;
pub mod method;
pub mod similarity;

pub use combiner::Combiner;
pub use gradients::Gradients;
pub use method::Method;
