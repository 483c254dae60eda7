//! Federated learning: many clients keep their data, a server keeps the model, and rounds of communication are what is saved.
//!
//! FedDyn (Acar, Zhao, Matas, Mattina, Whatmough and Saligrama, ICLR 2021) gives each client a linear term that remembers the
//! gradient of its own loss, so that clients may train long without pulling the model towards their own data.
//!
//! A method is two state machines, of a client and of the server, that know of each other by [`Message`]s alone; so the same code
//! runs in a simulation, between processes and in tests.
//!
//! ```
//! use lyceum_federated::{Client, LocalResult, MethodConfig, Reply, client::State};
//!
//! // Two clients with losses ½A(x − a)², solved exactly; the sum is least at 0.75.
//! let method = MethodConfig::FedDyn { alpha: 1.0, by_share: false }.build().unwrap();
//! let losses = [(1.0, 0.0), (3.0, 1.0)];
//! let (mut server, mut states) = (method.start(vec![0.0], 2), [State::default(), State::default()]);
//! for _ in 0..30 {
//!     let message = method.broadcast(&server);
//!     let mut replies = Vec::new();
//!     for (id, (curvature, least)) in losses.into_iter().enumerate() {
//!         let client = Client { id, examples: 1, share: 1.0 };
//!         let problem = method.problem(&states[id], &message, client).unwrap();
//!         let exact = (curvature * least - problem.linear[0] + problem.quadratic as f32 * problem.start[0]) / (curvature + 1.0);
//!         let result = LocalResult { parameters: vec![exact], statistics: Vec::new(), steps: 1, rate: 1.0, loss: 0.0 };
//!         let (state, message) = method.reply(&states[id], &message, &result, client).unwrap();
//!         states[id] = state;
//!         replies.push(Reply { client, message });
//!     }
//!     server = method.aggregate(&server, &replies).unwrap();
//! }
//! assert!((server.model()[0] - 0.75).abs() < 1e-6);
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`method`] | [`Method`]: what a client keeps, what goes up, what comes down; [`MethodConfig`] |
//! | [`methods`] | FedDyn, FedDC, FedAvg, FedProx, SCAFFOLD, FedNova, FedAvgM, FedAdam, FedYogi, FedAdagrad |
//! | [`client`] | a client's state, its local problem |
//! | [`journal`] | what clients keep, exactly once, in memory or on disk |
//! | [`message`] | what is sent, and how many bytes that is |
//! | [`server`] | the server's state |
//! | [`guard`] | replies that are left out |
//! | [`privacy`] | clipping, noise and what they are worth |
//! | [`participation`] | who takes part in a round, who is slow, whose reply is lost |
//! | [`trainer`] | [`LocalTrainer`], and networks trained on a client's examples |
//! | [`round`] | [`Rules`]: the two halves of a round, wherever they run |
//! | [`simulation`] | rounds with all clients in one process |

pub mod client;
pub mod guard;
pub mod journal;
pub mod message;
pub mod method;
pub mod methods;
pub mod participation;
pub mod privacy;
pub mod round;
pub mod server;
pub mod simulation;
pub mod trainer;

pub use client::{Client, LocalProblem, LocalResult};
pub use guard::Guard;
pub use journal::{Journal, Journals};
pub use message::Message;
pub use method::{Contents, Method, MethodConfig, Reply};
pub use methods::{FedAvg, FedDc, FedDyn, FedNova, FedOpt, FedProx, Scaffold, ServerOptimizer};
pub use participation::Participation;
pub use privacy::Privacy;
pub use round::Rules;
pub use server::Server;
pub use simulation::Simulation;
pub use trainer::{LocalConfig, LocalTrainer, NetworkTrainer};
