//! Running statistics of batch normalisation: they go down with the model, come back with the replies, and are averaged by examples.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use lyceum_core::Seed;
use lyceum_data::{Examples, Extent};
use lyceum_federated::{
    Client, Guard, LocalConfig, LocalProblem, LocalTrainer, Message, MethodConfig, NetworkTrainer, Privacy, Reply, Rules, Simulation,
};
use lyceum_train::{ModelConfig, Plain, cpu, evaluate};
use ndarray::Array2;

const EXTENT: Extent = Extent { channels: 1, height: 6, width: 6 };

fn examples() -> Examples {
    // Each class has a brightness and a scale of its own.
    let value = |i: usize, j: usize| (i % 3) as f32 * 2.0 + 3.0 + ((i * 31 + j * 7) as f32 * 0.37).sin() * (1.0 + (i % 3) as f32);
    Examples::new(Array2::from_shape_fn((60, EXTENT.len()), |(i, j)| value(i, j)), (0..60).map(|i| i % 3).collect())
}

fn with_trainer(work: impl FnOnce(&NetworkTrainer<'_>, &Examples, &[Client])) {
    let (examples, clients) = (examples(), [(0..12).collect::<Vec<usize>>(), (12..60).collect()]);
    let config = ModelConfig::Cnn { channels: vec![4], hidden: 6, batch_norm: true, dropout: 0.0 };
    let model = config.init(EXTENT, 3, Seed::new(1), &cpu()).unwrap();
    let local = LocalConfig { epochs: 2, batch_size: 6, ..LocalConfig::default() };
    let trainer = NetworkTrainer::new(model, &examples, &clients, 3, local, Box::new(|| Ok(Box::new(Plain)))).unwrap();
    work(&trainer, &examples, &Client::all(&clients.each_ref().map(Vec::len)));
}

/// For every method: Σ n_k s_k/Σ n_k of what each client's training gives on its own.
#[test]
fn statistics_are_the_mean_weighted_by_examples() {
    with_trainer(|trainer, examples, clients| {
        for config in [MethodConfig::FedAvg, MethodConfig::FedDyn { alpha: 0.1, by_share: true }, MethodConfig::FedNova] {
            let method = config.build().unwrap();
            let simulation = Simulation { rules: Rules::new(method.as_ref(), Seed::new(5)), trainer, clients, keep_models: false };
            let (initial, before) = (trainer.initial(), trainer.initial_statistics());
            assert!(!before.is_empty());
            let mut world = simulation.start(initial.clone()).unwrap();
            world.ledger = world.ledger.with_statistics(before.clone());
            let problem = LocalProblem { start: initial, statistics: before.clone(), linear: vec![], quadratic: 0.0, clip_pull: true };
            let alone = |id: usize| trainer.train(id, &problem, 0, 1.0, Seed::new(5).child(&format!("federated/{id}/0"))).unwrap();
            let (first, second) = (alone(0).statistics, alone(1).statistics);
            simulation.round(&mut world).unwrap();
            let found = world.ledger.server.statistics();
            assert!(found != before.as_slice());
            // FedDyn pulls from the second step on.
            if config != (MethodConfig::FedDyn { alpha: 0.1, by_share: true }) {
                for ((found, a), b) in found.iter().zip(&first).zip(&second) {
                    let expected = (12.0 * f64::from(*a) + 48.0 * f64::from(*b)) / 60.0;
                    assert!((f64::from(*found) - expected).abs() < 1e-6 * (1.0 + expected.abs()), "{found} {expected}");
                }
            }
            // Traffic counts them both ways.
            let numbers = 4 * (trainer.initial().len() + before.len()) as u64;
            assert!(world.ledger.traffic.up >= 2 * numbers && world.ledger.traffic.down >= 2 * numbers);
            (0..14).for_each(|_| drop(simulation.round(&mut world).unwrap()));
            let server = &world.ledger.server;
            let accuracy = |statistics: &[f32]| evaluate(&trainer.model(server.model(), statistics).unwrap(), examples).unwrap().accuracy;
            assert!(accuracy(server.statistics()) > 0.9, "{}", accuracy(server.statistics()));
            // With those of the beginning it would not do.
            assert!(accuracy(&before) < accuracy(server.statistics()));
        }
    });
}

#[test]
fn replies_without_statistics_or_with_others_are_refused() {
    with_trainer(|trainer, _, clients| {
        let method = MethodConfig::FedAvg.build().unwrap();
        let rules = Rules::new(method.as_ref(), Seed::new(5));
        let ledger = rules.start(trainer.initial(), 2).unwrap().with_statistics(trainer.initial_statistics());
        let refusal = |message: Message| Guard::default().refuses(method.as_ref(), &ledger.server, &Reply { client: clients[0], message });
        let model = || Message::default().with_array("model", trainer.initial());
        let statistics = trainer.initial_statistics();
        assert_eq!(refusal(model().with_array("statistics", statistics.clone())), None);
        assert!(refusal(model()).unwrap().contains("no `statistics`"));
        assert!(refusal(model().with_array("statistics", vec![0.0; 3])).unwrap().contains("3 numbers"));
        assert!(refusal(model().with_array("statistics", vec![f32::NAN; statistics.len()])).unwrap().contains("NaN"));
        assert!(refusal(model().with_array("statistics", vec![1e30; statistics.len()])).unwrap().contains("moved by"));
        // Where there are none, none are taken.
        let plain = rules.start(trainer.initial(), 2).unwrap();
        let message = model().with_array("statistics", statistics);
        assert!(Guard::default().refuses(method.as_ref(), &plain.server, &Reply { client: clients[0], message }).is_some());
        // What goes out as it is, is not private.
        let private = Rules { privacy: Some(Privacy { clip: 1.0, noise: 1.0, delta: 1e-5 }), ..rules };
        let mut ledger = ledger.clone();
        let reply = Reply { client: clients[0], message: model().with_array("statistics", trainer.initial_statistics()) };
        assert!(private.conclude(&mut ledger, vec![reply]).unwrap_err().to_string().contains("statistics"));
        // A negative variance counts as none.
        let broken = vec![-1.0; trainer.initial_statistics().len()];
        let net = trainer.model(&trainer.initial(), &broken).unwrap();
        let statistics = lyceum_train::ParamSpace::of(&net).arrays(&net);
        let variances = statistics.iter().filter(|array| array.name.ends_with("running_variance"));
        assert!(variances.flat_map(|array| &array.values).all(|variance| *variance == 0.0));
    });
}
