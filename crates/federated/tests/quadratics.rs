//! Losses ½A_k(x − a_k)², whose answers are known (worked with the formulas in double precision).

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use lyceum_core::{Result, Seed};
use lyceum_federated::{
    Client, FedAvg, FedNova, Guard, Journals, LocalProblem, LocalResult, LocalTrainer, Message, Method, MethodConfig, Participation,
    Privacy, Reply, Rules, Simulation, method::AdaptiveConfig, simulation::World,
};
use proptest::prelude::*;

/// Clients with losses ½A(x − a)², solved exactly or by some steps of gradient descent.
struct Quadratics {
    losses: Vec<(f64, f64)>,
    steps: Option<u64>,
}

impl LocalTrainer for Quadratics {
    fn train(&self, client: usize, problem: &LocalProblem, _: u64, _: f64, _: Seed) -> Result<LocalResult> {
        let (curvature, least) = self.losses[client];
        let (start, q) = (f64::from(problem.start[0]), problem.quadratic);
        let linear = problem.linear.first().map_or(0.0, |linear| f64::from(*linear));
        let (rate, mut x) = (0.1, start);
        match self.steps {
            None => x = (curvature * least - linear + q * start) / (curvature + q),
            Some(steps) => (0..steps).for_each(|_| x -= rate * (curvature * (x - least) + linear + q * (x - start))),
        }
        Ok(LocalResult { parameters: vec![x as f32], statistics: Vec::new(), steps: self.steps.unwrap_or(1), rate, loss: 0.0 })
    }
}

fn built(method: MethodConfig) -> Box<dyn Method> {
    method.build().unwrap()
}

fn two(steps: Option<u64>) -> Quadratics {
    Quadratics { losses: vec![(1.0, 0.0), (3.0, 1.0)], steps }
}

/// Runs rounds with all clients; `see` is shown the world after each.
fn rounds(method: &dyn Method, trainer: &Quadratics, examples: &[usize], count: usize, mut see: impl FnMut(usize, &World)) -> f64 {
    let clients = Client::all(examples);
    let simulation = Simulation { rules: Rules::new(method, Seed::new(1)), trainer, clients: &clients, keep_models: false };
    let mut world = simulation.start(vec![0.0]).unwrap();
    for round in 0..count {
        simulation.round(&mut world).unwrap();
        see(round, &world);
    }
    f64::from(world.ledger.server.model()[0])
}

fn gradients(world: &World) -> Vec<f64> {
    let gradient = |(k, accepted): (usize, &Option<u64>)| {
        f64::from(world.journals.read(k).unwrap().settled(*accepted).unwrap().array("gradient", 1)[0])
    };
    world.ledger.accepted.iter().enumerate().map(gradient).collect()
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found} {expected}");
}

#[test]
fn feddyn_with_exact_solutions() {
    let method = built(MethodConfig::FedDyn { alpha: 1.0, by_share: false });
    let g = [[0.0, -0.75], [0.375, -0.75], [0.5625, -0.75], [0.65625, -0.75]];
    let h = [-0.375, -0.1875, -0.09375, -0.046_875];
    let end = rounds(&*method, &two(None), &[5, 5], 60, |round, world| {
        close(f64::from(world.ledger.server.model()[0]), 0.75);
        if round < 4 {
            gradients(world).iter().zip(g[round]).for_each(|(found, expected)| close(*found, expected));
            close(f64::from(world.ledger.server.arrays["gradient"][0]), h[round]);
        }
    });
    close(end, 0.75);
    // A small α is slow, not unstable.
    let theta = [0.967_741_935_5, 0.571_847_507_3, 0.559_076_719_3];
    let method = built(MethodConfig::FedDyn { alpha: 0.1, by_share: false });
    rounds(&*method, &two(None), &[5, 5], 3, |round, world| close(f64::from(world.ledger.server.model()[0]), theta[round]));
    // One client: the correction lands on the optimum.
    close(
        rounds(
            &*built(MethodConfig::FedDyn { alpha: 1.0, by_share: false }),
            &Quadratics { losses: vec![(1.0, 1.0)], steps: None },
            &[3],
            1,
            |_, _| (),
        ),
        1.0,
    );
}

#[test]
fn feddyn_with_clients_in_turn_and_one_that_never_takes_part() {
    let method = built(MethodConfig::FedDyn { alpha: 1.0, by_share: false });
    let trainer = two(None);
    let clients = Client::all(&[1, 1]);
    let mut server = method.start(vec![0.0], 2);
    let mut states = [lyceum_federated::client::State::default(), lyceum_federated::client::State::default()];
    let mut turn = |server: &lyceum_federated::Server, k: usize| {
        let message = method.broadcast(server);
        let problem = method.problem(&states[k], &message, clients[k]).unwrap();
        let result = trainer.train(k, &problem, 0, 1.0, Seed::new(0)).unwrap();
        let (state, message) = method.reply(&states[k], &message, &result, clients[k]).unwrap();
        states[k] = state;
        lyceum_federated::Reply { client: clients[k], message }
    };
    for (k, theta) in [(0, 0.0), (1, 1.125), (0, 0.656_25), (1, 0.855_468_75), (0, 0.764_648_437_5), (1, 0.777_465_820_3)] {
        let reply = turn(&server, k);
        server = method.aggregate(&server, &[reply]).unwrap();
        close(f64::from(server.model()[0]), theta);
    }
    // m = 3, the third never active: its part of the mean is 0.
    let mut server = method.start(vec![0.0], 3);
    states = Default::default();
    let both = |server: &lyceum_federated::Server, states: &mut [lyceum_federated::client::State; 2]| {
        let message = method.broadcast(server);
        (0..2)
            .map(|k| {
                let problem = method.problem(&states[k], &message, clients[k]).unwrap();
                let result = trainer.train(k, &problem, 0, 1.0, Seed::new(0)).unwrap();
                let (state, message) = method.reply(&states[k], &message, &result, clients[k]).unwrap();
                states[k] = state;
                lyceum_federated::Reply { client: clients[k], message }
            })
            .collect::<Vec<_>>()
    };
    for theta in [0.625, 0.692_708_333_3, 0.727_647_569_4] {
        let replies = both(&server, &mut states);
        server = method.aggregate(&server, &replies).unwrap();
        close(f64::from(server.model()[0]), theta);
    }
}

#[test]
fn feddyn_weighs_clients_by_their_examples() {
    // w = (1.5, 0.5): the optimum of the loss over all examples is 0.5.
    let theta = [0.6, 0.54, 0.516];
    let method = built(MethodConfig::FedDyn { alpha: 1.0, by_share: true });
    let end = rounds(&*method, &two(None), &[3, 1], 80, |round, world| {
        if round < 3 {
            close(f64::from(world.ledger.server.model()[0]), theta[round]);
        }
        let g = gradients(world);
        close(f64::from(world.ledger.server.arrays["gradient"][0]), 0.75 * g[0] + 0.25 * g[1]);
    });
    close(end, 0.5);
    // Alike clients count alike; unlike ones do not.
    let g = |by_share, examples: [usize; 2]| {
        rounds(&*built(MethodConfig::FedDyn { alpha: 0.5, by_share }), &two(None), &examples, 5, |_, _| ())
    };
    assert_eq!(g(true, [4, 4]), g(false, [4, 4]));
    assert!((g(true, [3, 1]) - g(false, [3, 1])).abs() > 0.1);
}

/// With the formulas of the authors' code (`train_SCAFFOLD`) in double precision.
#[test]
fn scaffold_weighs_clients_by_their_examples() {
    let (theta, control) = ([0.255, 0.352_75, 0.373_447_5, 0.398_494_875], [-0.637_5, -0.325_125, -0.213_243_75, -0.179_867_437_5]);
    let method = built(MethodConfig::Scaffold { server_rate: 1.0, weight_by_examples: true });
    let end = rounds(&*method, &two(Some(2)), &[3, 1], 400, |round, world| {
        if round < 4 {
            close(f64::from(world.ledger.server.model()[0]), theta[round]);
            close(f64::from(world.ledger.server.arrays["control"][0]), control[round]);
        }
    });
    // The optimum of the loss over all examples.
    assert!((end - 0.5).abs() < 2e-6, "{end}");
}

#[test]
fn two_gradient_steps_of_each_method() {
    let after = |method: &dyn Method, expected: [f64; 3], limit: f64| {
        let end = rounds(method, &two(Some(2)), &[5, 5], 400, |round, world| {
            if round < 3 {
                close(f64::from(world.ledger.server.model()[0]), expected[round]);
            }
        });
        assert!((end - limit).abs() < 2e-6, "{method:?} {end} {limit}");
    };
    after(&FedAvg, [0.255, 0.420_75, 0.528_487_5], 0.728_571_428_6);
    after(&*built(MethodConfig::FedProx { mu: 1.0 }), [0.24, 0.400_8, 0.508_536], 0.727_272_727_3);
    after(&*built(MethodConfig::Scaffold { server_rate: 1.0, weight_by_examples: false }), [0.255, 0.433_5, 0.548_76], 0.75);
    after(&*built(MethodConfig::FedDyn { alpha: 1.0, by_share: false }), [0.48, 0.806_4, 0.948_48], 0.75);
    let control = [-1.275, -0.892_5, -0.576_3];
    rounds(&*built(MethodConfig::Scaffold { server_rate: 1.0, weight_by_examples: false }), &two(Some(2)), &[5, 5], 3, |round, world| {
        close(f64::from(world.ledger.server.arrays["control"][0]), control[round]);
    });
    let h = [-0.24, -0.283_2, -0.212_64];
    rounds(&*built(MethodConfig::FedDyn { alpha: 1.0, by_share: false }), &two(Some(2)), &[5, 5], 3, |round, world| {
        close(f64::from(world.ledger.server.arrays["gradient"][0]), h[round]);
    });
    after(&*built(MethodConfig::FedDc { alpha: 0.1, by_share: false }), [0.507, 0.931_409_7, 1.136_881_290_9], 0.75);
    let (drift, gradient) = ([0.253_5, 0.338_954_85, 0.272_213_220_4], [-1.267_5, -0.427_274_25, 0.333_708_147_8]);
    rounds(&*built(MethodConfig::FedDc { alpha: 0.1, by_share: false }), &two(Some(2)), &[5, 5], 3, |round, world| {
        close(f64::from(world.ledger.server.arrays["drift"][0]), drift[round]);
        close(f64::from(world.ledger.server.arrays["gradient"][0]), gradient[round]);
    });
    // w = (1.5, 0.5): the optimum of the loss over all examples.
    let theta = [0.504, 0.761_465_6, 0.824_522_511_9];
    let end = rounds(&*built(MethodConfig::FedDc { alpha: 0.1, by_share: true }), &two(Some(2)), &[3, 1], 400, |round, world| {
        if round < 3 {
            close(f64::from(world.ledger.server.model()[0]), theta[round]);
        }
    });
    assert!((end - 0.5).abs() < 2e-6, "{end}");
    // With exact local solutions FedAvg stays where it is wrong.
    close(rounds(&FedAvg, &two(None), &[5, 5], 50, |_, _| ()), 0.5);
}

#[test]
fn servers_that_take_moves_for_gradients_worked_by_hand() {
    let constants = AdaptiveConfig { rate: 0.5, beta1: 0.5, beta2: 0.75, adaptivity: 0.1 };
    // The mean move of the first round is 0.5: m = 0.25, Δ² = 0.25, v₀ = 0.01.
    let first = |method| rounds(&*built(method), &two(None), &[5, 5], 1, |_, _| ());
    close(first(MethodConfig::FedAvgM { rate: 0.5, momentum: 0.9 }), 0.25);
    close(first(MethodConfig::FedAdagrad(constants)), 0.125 / (0.26_f64.sqrt() + 0.1));
    close(first(MethodConfig::FedAdam(constants)), 0.125 / (0.07_f64.sqrt() + 0.1));
    close(first(MethodConfig::FedYogi(constants)), 0.125 / (0.0725_f64.sqrt() + 0.1));
    // FedNova with 4 steps of 3 examples and 1 step of 1: (3/4·4 + 1/4)(3/4·(1/4) + 1/4·(−2)), where FedAvg has 1/4.
    let replies: Vec<Reply> = [(3, 4.0, 1.0), (1, 1.0, -2.0)]
        .into_iter()
        .enumerate()
        .map(|(id, (examples, steps, at))| Reply {
            client: Client { id, examples, share: 1.0 },
            message: Message::default().with_array("model", vec![at]).with_number("steps", steps),
        })
        .collect();
    let server = |method: &dyn Method| method.aggregate(&method.start(vec![0.0], 2), &replies).unwrap();
    close(f64::from(server(&FedNova).model()[0]), -1.015_625);
    close(f64::from(server(&FedAvg).model()[0]), 0.25);
    // FedNova with equally many steps is FedAvg.
    let nova = rounds(&FedNova, &two(Some(2)), &[3, 1], 5, |_, _| ());
    close(nova, rounds(&FedAvg, &two(Some(2)), &[3, 1], 5, |_, _| ()));
}

#[test]
fn a_large_alpha_is_slow_and_the_first_round_is_that_of_fedprox() {
    let theta = [0.002_991_026_919_2, 0.004_483_552_34, 0.005_971_613_577_1];
    rounds(&*built(MethodConfig::FedDyn { alpha: 1_000.0, by_share: false }), &two(None), &[1, 1], 3, |round, world| {
        let found = f64::from(world.ledger.server.model()[0]);
        assert!((found - theta[round]).abs() < 1e-9, "{found} {}", theta[round]);
    });
    // Before the first round g_k = 0: what a client solves is FedProx's problem.
    let (client, state) = (Client { id: 1, examples: 1, share: 1.0 }, lyceum_federated::client::State::default());
    let solution = |method: &dyn Method| {
        let message = method.broadcast(&method.start(vec![0.2], 2));
        let problem = method.problem(&state, &message, client).unwrap();
        two(None).train(1, &problem, 0, 1.0, Seed::new(0)).unwrap().parameters[0]
    };
    for alpha in [0.1, 1.0, 30.0] {
        assert_eq!(
            solution(&*built(MethodConfig::FedDyn { alpha, by_share: false })),
            solution(&*built(MethodConfig::FedProx { mu: alpha }))
        );
        assert_ne!(solution(&*built(MethodConfig::FedDyn { alpha, by_share: false })), solution(&FedAvg));
    }
}

#[test]
fn bytes_are_exact() {
    for (method, each) in [
        (&*built(MethodConfig::FedDyn { alpha: 0.1, by_share: true }), 4),
        (&*built(MethodConfig::FedDc { alpha: 0.1, by_share: true }), 8),
        (&*built(MethodConfig::Scaffold { server_rate: 1.0, weight_by_examples: false }), 8),
        (&FedAvg, 4),
    ] {
        rounds(method, &two(None), &[1, 1], 3, |round, world| {
            let expected = each * 2 * (round as u64 + 1);
            assert_eq!((world.ledger.traffic.down, world.ledger.traffic.up), (expected, expected), "{method:?}");
        });
    }
}

/// Clipped moves with noise: the server's h is what it made of what it saw, the clients' g what they sent; in the mean they differ by
/// the noise alone.
#[test]
fn privacy_cuts_what_client_and_server_remember() {
    let (trainer, clients) = (two(None), Client::all(&[1, 1]));
    let method = built(MethodConfig::FedDyn { alpha: 1.0, by_share: false });
    let privacy = Privacy { clip: 0.25, noise: 1e-9, delta: 1e-5 };
    let rules = Rules { privacy: Some(privacy), ..Rules::new(&*method, Seed::new(1)) };
    let simulation = Simulation { rules, trainer: &trainer, clients: &clients, keep_models: false };
    let mut world = simulation.start(vec![0.0]).unwrap();
    simulation.round(&mut world).unwrap();
    // The second client would move by 0.75; the first does not move.
    gradients(&world).iter().zip([0.0, -0.25]).for_each(|(found, expected)| close(*found, expected));
    close(f64::from(world.ledger.server.arrays["gradient"][0]), -0.125);
    close(f64::from(world.ledger.server.model()[0]), 0.125 + 0.125);
    let rules = Rules { privacy: Some(Privacy { noise: 1.0, ..privacy }), ..rules };
    let noisy = Simulation { rules, ..simulation };
    let run = |rounds: usize| {
        let mut world = noisy.start(vec![0.0]).unwrap();
        (0..rounds).for_each(|_| drop(noisy.round(&mut world).unwrap()));
        world
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(1).ledger.server.model()[0], 0.25);
    assert_eq!(run(3).ledger.taken, [3, 3]);
}

proptest! {
    /// Lost replies, slow clients, any participation: after every round h = (1/m) Σ g_k, and what is saved goes on as what is not.
    #[test]
    fn the_dual_variables_are_counted_exactly_once(
        seed: u64, clients in 1_usize..12, fraction in 0.05..1.0_f64, lost in 0.0..0.7_f64, alpha in 0.05..3.0_f64,
        spill in 0_u8..40,
    ) {
        let trainer = Quadratics { losses: (0..clients).map(|k| (1.0 + k as f64 / 4.0, (k as f64).sin())).collect(), steps: Some(3) };
        let everyone = Client::all(&vec![7; clients]);
        let method = built(MethodConfig::FedDyn { alpha, by_share: false });
        let participation = Participation { fraction, independent: true, stragglers: 0.0, lost_replies: lost };
        let rules = Rules { participation, ..Rules::new(&*method, Seed::new(seed)) };
        let simulation = Simulation { rules, trainer: &trainer, clients: &everyone, keep_models: true };
        let folder = tempfile::tempdir().unwrap();
        // Room for a few clients only: the others are on disk.
        let journals = || Journals::spilling(8 * u64::from(spill), folder.path());
        let mut world = World { journals: journals(), ..simulation.start(vec![0.0]).unwrap() };
        for round in 0..12 {
            simulation.round(&mut world).unwrap();
            let mean = gradients(&world).iter().sum::<f64>() / clients as f64;
            prop_assert!((f64::from(world.ledger.server.arrays["gradient"][0]) - mean).abs() < 1e-5, "{round}");
            let (saved, arrays) = world.save();
            world.journals.checkpointed();
            let again = World::restore(&saved, &arrays, journals()).unwrap();
            // Vectors of zeros may be left out, but here none is.
            prop_assert_eq!(&again, &world);
            world = again;
        }
    }
}

/// A client that sends something broken is left out and named; the others go on.
#[test]
fn broken_replies_are_refused() {
    struct Hostile;
    impl LocalTrainer for Hostile {
        fn train(&self, client: usize, problem: &LocalProblem, _: u64, _: f64, _: Seed) -> Result<LocalResult> {
            let parameters = match client {
                0 => vec![f32::NAN; 2],
                1 => vec![0.0; 3],
                2 => vec![1e6, 0.0],
                3 => return Err(lyceum_core::Error::Failed("out of memory".into())),
                _ => problem.start.iter().map(|x| x + 1.0).collect(),
            };
            Ok(LocalResult { parameters, statistics: Vec::new(), steps: 1, rate: 0.1, loss: 0.0 })
        }
    }
    let clients = Client::all(&[1; 6]);
    let rules = Rules { guard: Guard { update_norm: Some(10.0) }, ..Rules::new(&FedAvg, Seed::new(1)) };
    let simulation = Simulation { rules, trainer: &Hostile, clients: &clients, keep_models: false };
    let mut world = simulation.start(vec![0.0, 0.0]).unwrap();
    let round = simulation.round(&mut world).unwrap();
    assert_eq!(world.ledger.server.model(), [1.0, 1.0]);
    assert_eq!((round.active, round.taken), (6, vec![4, 5]));
    let reasons: Vec<String> = round.refused.iter().map(|(id, reason)| format!("{id}: {reason}")).collect();
    assert_eq!(reasons.len(), 4);
    for (found, expected) in
        reasons.iter().zip(["0: `model` has NaN at place 0", "1: `model` has 3 numbers", "2: its update has norm", "3: out of memory"])
    {
        assert!(found.starts_with(expected), "{found}");
    }
}

/// Who sends two replies in a round is counted once: the first is taken.
#[test]
fn a_second_reply_is_refused() {
    let rules = Rules::new(&FedAvg, Seed::new(1));
    let clients = Client::all(&[1; 2]);
    let mut ledger = rules.start(vec![0.0], 2).unwrap();
    let reply = |client: usize, value: f32| Reply { client: clients[client], message: Message::default().with_array("model", vec![value]) };
    let round = rules.conclude(&mut ledger, vec![reply(0, 1.0), reply(1, 3.0), reply(0, 9.0)]).unwrap();
    assert_eq!((ledger.server.model(), round.taken), ([2.0].as_slice(), vec![0, 1]));
    assert_eq!(round.refused, [(0, "a second reply in the same round".to_owned())]);
}

/// Ten thousand replies and more of clients that send anything, to every method, with a restart after each round: the server never
/// stops, its model stays finite and plausible, and clients that are honest are taken all the same.
#[test]
fn no_reply_stops_a_federation_or_ruins_its_model() {
    use lyceum_federated::round::Ledger;
    use rand::{RngExt, seq::IndexedRandom};
    let names = ["fedavg", "fedprox", "feddyn", "feddc", "scaffold", "fednova", "fedavgm", "fedadam", "fedyogi", "fedadagrad"];
    let mut count = 0;
    for (number, name) in names.into_iter().enumerate() {
        let method: Box<dyn Method> = serde_json::from_str::<lyceum_federated::MethodConfig>(&format!("{{\"{name}\": {{}}}}"))
            .or_else(|_| serde_json::from_str(&format!("\"{name}\"")))
            .unwrap()
            .build()
            .unwrap();
        let rules = Rules::new(&*method, Seed::new(1));
        let mut ledger = rules.start(vec![0.5, -0.5, 0.0], 8).unwrap();
        let mut rng = Seed::new(2).stream_at("fuzz", number as u64);
        let numbers = [0.0, -1.0, 1.0, 3.0, 1e5, 1e30, 1e308, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let values = [0.0_f32, 1.0, -1.0, 1e-30, 1e3, 1e30, 3e38, -3e38, f32::NAN, f32::INFINITY];
        let mut honest = 0;
        for round in 0..130 {
            let replies: Vec<Reply> = (0..9)
                .map(|_| {
                    count += 1;
                    let id = rng.random_range(0..10);
                    let mut message = Message::default();
                    let contents = method.contents();
                    let arrays = contents.arrays.iter().copied().chain(["model"]);
                    // A reply as it should be, of which something is changed, or nothing.
                    for array in arrays {
                        message = message.with_array(array, ledger.server.model().iter().map(|x| x + 0.01).collect());
                    }
                    for (number, ..) in contents.numbers {
                        message = message.with_number(number, 2.0);
                    }
                    let mut examples = 3;
                    for _ in 0..rng.random_range(0..3) {
                        let array = *["model", "control_change", "gradient_change", "other"].choose(&mut rng).unwrap();
                        match rng.random_range(0..7) {
                            0 => examples = *[0, 1, 1 << 40, (1 << 40) + 1, usize::MAX].choose(&mut rng).unwrap(),
                            1 => drop(message.arrays.remove(array)),
                            2 => message = message.with_array(array, vec![0.5; rng.random_range(0..5)]),
                            3 => message = message.with_array(array, (0..3).map(|_| *values.choose(&mut rng).unwrap()).collect()),
                            4 => message = message.with_number("steps", *numbers.choose(&mut rng).unwrap()),
                            5 => drop(message.numbers.remove("steps")),
                            _ => message = message.with_number("other", *numbers.choose(&mut rng).unwrap()),
                        }
                    }
                    Reply { client: Client { id, examples, share: 1.0 }, message }
                })
                .collect();
            let before: f64 = ledger.server.model().iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let found = rules.conclude(&mut ledger, replies).unwrap();
            honest += found.taken.len();
            assert_eq!(ledger.server.round, round + 1);
            assert!(ledger.server.arrays.values().flatten().all(|x| x.is_finite()), "{name} {:?}", ledger.server);
            let now: f64 = ledger.server.model().iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            assert!(now <= before + 1e3 * (1.0 + before) * 1.000_01, "{name} {before} {now}");
            let (saved, arrays) = ledger.save();
            ledger = Ledger::restore(&saved, &arrays);
        }
        assert!(honest > 200, "{name}: {honest}");
    }
    assert!(count > 10_000);
}

/// Clients without examples make a round without replies, and the next round comes.
#[test]
fn a_round_of_empty_clients_is_passed_over() {
    for method in [
        &FedAvg as &dyn Method,
        &*built(MethodConfig::FedDyn { alpha: 0.1, by_share: true }),
        &*built(MethodConfig::FedDc { alpha: 0.1, by_share: true }),
        &FedNova,
    ] {
        let (trainer, clients) = (two(None), Client::all(&[0, 0]));
        let simulation = Simulation { rules: Rules::new(method, Seed::new(1)), trainer: &trainer, clients: &clients, keep_models: false };
        let mut world = simulation.start(vec![0.25]).unwrap();
        for number in 0..3 {
            let round = simulation.round(&mut world).unwrap();
            assert_eq!((world.ledger.server.round, round.taken.len()), (number + 1, 0));
            assert!(round.refused.iter().all(|(_, reason)| reason == "it has no examples"));
        }
        assert_eq!(world.ledger.server.model(), [0.25]);
    }
}

/// What a recipe refuses, code is refused too, before anything is computed.
#[test]
fn constants_out_of_their_range_are_errors() {
    let adaptive = AdaptiveConfig { beta2: 1.0, ..AdaptiveConfig::default() };
    for (method, allowed) in [
        (MethodConfig::FedDyn { alpha: 0.0, by_share: true }, "> 0"),
        (MethodConfig::FedDc { alpha: f64::NAN, by_share: true }, "> 0"),
        (MethodConfig::FedProx { mu: -1.0 }, ">= 0"),
        (MethodConfig::Scaffold { server_rate: f64::INFINITY, weight_by_examples: true }, "> 0"),
        (MethodConfig::FedAdam(adaptive), "< 1"),
    ] {
        let error = method.build().unwrap_err();
        assert!(error.to_string().contains(allowed), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    let start = |rules: Rules<'_>| rules.start(vec![0.0], 2).map(drop);
    let rules = Rules::new(&FedAvg, Seed::new(1));
    start(rules).unwrap();
    start(Rules { participation: Participation { fraction: 0.0, ..Participation::default() }, ..rules }).unwrap_err();
    start(Rules { participation: Participation { lost_replies: 1.5, ..Participation::default() }, ..rules }).unwrap_err();
    start(Rules { guard: Guard { update_norm: Some(-1.0) }, ..rules }).unwrap_err();
    start(Rules { privacy: Some(Privacy { clip: 0.0, noise: 1.0, delta: 1e-5 }), ..rules }).unwrap_err();
}
