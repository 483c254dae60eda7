//! ONNX files: what networks of other tools are kept in.
//!
//! A [`Model`] is read from a file with its weights, also those that lie in a file beside it ([`Model::read`]), and written to one
//! ([`Model::write`]). [`evaluate`] gives what one node makes of tensors of any number of axes: what is computed once and for all when a
//! network is taken in, and what no faster form is known for. `lyceum_train::onnx` makes networks of models, and models of networks.
//!
//! | module | holds |
//! |---|---|
//! | [`proto`] | the messages of the format |
//! | [`model`] | [`Model`], its nodes and their attributes; reading and writing |
//! | [`tensor`] | [`Tensor`]: numbers with any number of axes |
//! | [`extents`] | what nodes say of extents and axes |
//! | [`mod@eval`] | what each operator does |

pub mod eval;
pub mod extents;
pub mod model;
pub mod proto;
pub mod tensor;

pub use eval::evaluate;
pub use model::{Attribute, Model, Node, Value};
pub use tensor::Tensor;
