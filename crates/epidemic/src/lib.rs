//! An agent-based epidemic simulator for millions of people, and contact-tracing policies.
//!
//! People of a region live, work and meet; an infection passes from one to another by their contacts; some have an app that warns
//! them. The model is that of COVI-AgentSim (Gupta et al. 2020), made for size: contacts come from counters (Philox), so that only
//! those are drawn that can matter, in parallel, and the days are the same whatever the number of threads. On top are the tracing
//! policies of Bengio et al., *Predicting infectiousness for proactive contact tracing* (ICLR 2021).
//!
//! ```
//! use lyceum_epidemic::{Config, PolicyName, Simulation};
//!
//! let config = Config { people: 1_000, days: 20, initially_infected: 0.01, policy: PolicyName::Bct1, ..Config::default() };
//! let mut simulation = Simulation::new(&config).unwrap();
//! let last = *simulation.run().unwrap().last().unwrap();
//! assert_eq!(last.people(), 1_000);
//! assert!(simulation.infections().len() >= 10);
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | [`Config`]: what is simulated |
//! | [`region`] | [`Region`]: ages, households, work, contact matrices, as data |
//! | [`parameters`] | [`Parameters`]: disease, testing, phones, behaviour, as data |
//! | [`population`] | the people |
//! | [`contacts`] | who meets whom |
//! | [`disease`], [`symptoms`] | the course of an infection |
//! | [`behaviour`] | how much people meet at each level |
//! | [`interventions`] | what is done on some days: closures, masks, tests, vaccination |
//! | [`tracing`] | phones, messages and policies |
//! | [`vaccination`] | what a vaccine spares |
//! | [`simulation`] | [`Simulation`]: a day after the other |
//! | [`record`] | what comes out |
//! | [`table`] | the same as columns, and as Parquet (feature `parquet`) |
//! | [`evaluate`] | reproduction numbers, costs, Pareto fronts |
//! | [`report`], [`picture`] | reports and pictures |
//! | [`fit`] | calibration to a series |
//! | [`random`] | counter-based randomness |

pub mod behaviour;
mod checkpoint;
mod colleagues;
pub mod config;
pub mod contacts;
pub mod disease;
pub mod evaluate;
pub mod fit;
pub mod interventions;
pub mod parameters;
mod phones;
pub mod picture;
pub mod population;
pub mod random;
pub mod record;
pub mod region;
pub mod report;
pub mod simulation;
pub mod symptoms;
pub mod table;
mod testing;
pub mod tracing;
pub mod vaccination;

pub use checkpoint::Deciding;
pub use config::{Config, PolicyName};
pub use interventions::Intervention;
pub use parameters::Parameters;
pub use region::Region;
pub use simulation::Simulation;
