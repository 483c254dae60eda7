//! Learnt predictors: what networks compute, files, policies.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::{path::Path, sync::Arc};

use lyceum_core::{Array, Seed, array};
use lyceum_epidemic::{
    Config, PolicyName, Simulation,
    random::Random,
    tracing::{
        CALIBRATED, DAYS, Phone,
        collect::{Collector, Sampling},
        learnt::{FLAT, HEALTH, Inputs, Network, NetworkConfig, PROFILE, Predict, Predictor},
        oracle::Oracle,
    },
};
use rand::{RngExt, seq::SliceRandom};

const NETWORKS: [NetworkConfig; 3] = [
    NetworkConfig::Linear,
    NetworkConfig::DeepSet { width: 16, blocks: 2 },
    NetworkConfig::SetTransformer { width: 16, blocks: 2, heads: 2 },
];

/// Random weights for a network: what its file must hold.
fn weights(config: NetworkConfig) -> Vec<Array> {
    let mut rng = Seed::new(5).stream("weights");
    let mut arrays = Vec::new();
    let mut add = |name: String, shape: &[usize]| {
        let scale = 1.5 / (shape[0] as f32).sqrt();
        let values = (0..shape.iter().product()).map(|_| scale * rng.random_range(-1.0_f32..1.0)).collect();
        arrays.push(Array::new(name, shape.to_vec(), values));
    };
    let mut layer = |name: &str, inputs: usize, outputs: usize| {
        add(format!("{name}.weight"), &[inputs, outputs]);
        add(format!("{name}.bias"), &[outputs]);
    };
    let (width, blocks, attention) = match config {
        NetworkConfig::Linear => {
            layer("linear", FLAT, DAYS);
            return arrays;
        }
        NetworkConfig::DeepSet { width, blocks } => (width, blocks, false),
        NetworkConfig::SetTransformer { width, blocks, .. } => (width, blocks, true),
    };
    let meta = NetworkConfig::meta(width);
    for (name, inputs, outputs) in
        [("health", HEALTH, width / 2), ("profile", PROFILE, width / 4), ("level", 1, width), ("infectiousness", meta + width, 1)]
    {
        layer(&format!("{name}.0"), inputs, width);
        layer(&format!("{name}.1"), width, outputs);
    }
    for block in 0..blocks {
        let inputs = if block == 0 { NetworkConfig::entity(width) } else { meta + width };
        if attention {
            layer(&format!("blocks.{block}.qkv"), inputs, 3 * width);
            layer(&format!("blocks.{block}.last"), width, width);
        } else {
            layer(&format!("blocks.{block}.first"), inputs, width);
            layer(&format!("blocks.{block}.both"), inputs + width, inputs);
            layer(&format!("blocks.{block}.last"), inputs, width);
        }
    }
    add("days".into(), &[DAYS, width / 4]);
    add("partner".into(), &[1, width / 4]);
    add("slot".into(), &[1, width / 2 + width]);
    arrays
}

/// Phones of an epidemic.
fn phones() -> Vec<Phone> {
    let config = Config { people: 500, days: 20, initially_infected: 0.05, count_contacts: false, ..Config::default() };
    let collector = Arc::new(Collector::new(Arc::new(Oracle::exact()), Sampling { follow: 1.0, share: 0.3, well: 1.0 }, Random(3)));
    Simulation::with_policy(&config, Some(collector.clone())).unwrap().run().unwrap();
    collector.take()
}

fn close(a: &[[f32; DAYS]], b: &[[f32; DAYS]], tolerance: f32) -> bool {
    a.len() == b.len() && a.as_flattened().iter().zip(b.as_flattened()).all(|(a, b)| (a - b).abs() <= tolerance)
}

/// Case 11 of the page: the order of clusters, and who is predicted beside a phone, change nothing.
#[test]
fn sets_have_no_order() {
    let phones = phones();
    let inputs: Vec<Inputs> = phones.iter().rev().take(40).map(Inputs::of).collect();
    assert!(inputs.iter().map(|inputs| inputs.clusters.len()).max().unwrap() > 13);
    let rng = &mut Seed::new(1).stream("order");
    for config in NETWORKS {
        let network = Network::new(config, &weights(config)).unwrap();
        let found = network.infectiousness(&inputs);
        assert!(found.as_flattened().iter().all(|risk| risk.is_finite()));
        assert!(found.iter().any(|risks| (risks[0] - found[0][0]).abs() > 1e-3), "{config:?} sees nothing");
        let shuffled: Vec<Inputs> = inputs
            .iter()
            .map(|inputs| {
                let mut inputs = inputs.clone();
                inputs.clusters.shuffle(rng);
                inputs
            })
            .collect();
        assert!(close(&found, &network.infectiousness(&shuffled), 1e-5), "{config:?}");
        let alone: Vec<[f32; DAYS]> = inputs.iter().flat_map(|inputs| network.infectiousness(std::slice::from_ref(inputs))).collect();
        assert!(close(&found, &alone, 1e-5), "{config:?}");
        let mut risks = vec![[0.0; DAYS]; phones.len()];
        network.predict(&phones, &mut risks);
        let last: Vec<[f32; DAYS]> = risks.into_iter().rev().take(40).collect();
        assert!(close(&found, &last, 1e-5), "{config:?}");
    }
    assert!(Network::new(NetworkConfig::Linear, &weights(NetworkConfig::Linear)).unwrap().infectiousness(&[]).is_empty());
}

/// The formulas of a set transformer, written a second time, number by number, in double precision.
#[test]
fn attention_by_its_formula() {
    let (width, heads) = (8, 2);
    let config = NetworkConfig::SetTransformer { width, blocks: 1, heads };
    let arrays = weights(config);
    let of =
        |name: &str| -> Vec<f64> { arrays.iter().find(|array| array.name == name).unwrap().values.iter().map(|x| f64::from(*x)).collect() };
    let layer = |name: &str, x: &[f64], relu: bool| -> Vec<f64> {
        let (w, b) = (of(&format!("{name}.weight")), of(&format!("{name}.bias")));
        let y = (0..b.len()).map(|j| b[j] + x.iter().enumerate().map(|(i, x)| x * w[i * b.len() + j]).sum::<f64>());
        y.map(|y| if relu { y.max(0.0) } else { y }).collect()
    };
    let pair = |name: &str, x: &[f64]| layer(&format!("{name}.1"), &layer(&format!("{name}.0"), x, true), false);
    // One symptom, one cluster of three contacts at level 6, five days ago.
    let mut phone = Phone { day: 30, ..Phone::default() };
    phone.symptoms[1] = 1 << 4;
    phone.mailbox[5][6] = 3;
    let inputs = Inputs::of(&phone);
    let health = |ago: usize| pair("health", &inputs.health[ago].map(f64::from));
    let profile = pair("profile", &inputs.profile.map(f64::from));
    let (days, slot) = (of("days"), of("slot"));
    let day = |ago: usize| days[ago * 2..ago * 2 + 2].to_vec();
    let mut things: Vec<Vec<f64>> =
        (0..DAYS).map(|ago| [day(ago), slot[..4].to_vec(), health(ago), slot[4..].to_vec(), profile.clone()].concat()).collect();
    let wave = vec![3.0_f64.sin(), 3.0_f64.cos()];
    things.push([day(5), of("partner"), wave, health(5), pair("level", &[6.0 / 15.0]), profile].concat());
    let qkv: Vec<Vec<f64>> = things.iter().map(|thing| layer("blocks.0.qkv", thing, false)).collect();
    let expected: Vec<f64> = (0..DAYS)
        .map(|row| {
            let mut o = qkv[row][..width].to_vec();
            for head in 0..heads {
                let part = |x: &[f64], which: usize| x[which * width + head * 4..][..4].to_vec();
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let q = part(&qkv[row], 0);
                let weights: Vec<f64> = qkv.iter().map(|other| (dot(&q, &part(other, 1)) / (width as f64).sqrt()).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for (other, weight) in qkv.iter().zip(&weights) {
                    o[head * 4..][..4].iter_mut().zip(part(other, 2)).for_each(|(o, v)| *o += weight / sum * v);
                }
            }
            let last = layer("blocks.0.last", &o, true);
            let found: Vec<f64> = o.iter().zip(last).map(|(o, last)| o + last).collect();
            pair("infectiousness", &[things[row][..6].to_vec(), found].concat())[0]
        })
        .collect();
    let found = Network::new(config, &arrays).unwrap().infectiousness(&[inputs]);
    assert!(found[0].iter().zip(&expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-4), "{found:?} {expected:?}");
}

#[test]
fn files_and_what_is_wrong_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("predictor.safetensors");
    for config in NETWORKS {
        let arrays = weights(config);
        let predictor = Predictor::new("mine", config, &arrays, CALIBRATED).unwrap();
        let bytes = predictor.bytes(&arrays).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let read = Predictor::read(&path).unwrap();
        let inputs: Vec<Inputs> = vec![Inputs::of(&Phone::default())];
        assert_eq!(read.predict.infectiousness(&inputs), predictor.predict.infectiousness(&inputs));
        assert_eq!((read.name.as_str(), read.edges, read.predict.config()), ("mine", CALIBRATED, config));
        for cut in [0, 4, 100, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let message = Predictor::read(&path).err().unwrap().to_string();
            assert!(message.contains("predictor.safetensors"), "{message}");
        }
        let mut flipped = bytes.clone();
        *flipped.last_mut().unwrap() ^= 1;
        std::fs::write(&path, flipped).unwrap();
        assert!(Predictor::read(&path).err().unwrap().to_string().contains("checksum"));
        let wrong = |change: &dyn Fn(&mut Vec<Array>), told: &str| {
            let mut changed = arrays.clone();
            change(&mut changed);
            std::fs::write(&path, predictor.bytes(&changed).unwrap()).unwrap();
            let message = Predictor::read(&path).err().unwrap().to_string();
            assert!(message.contains(told) && message.contains("predictor.safetensors"), "{message}");
        };
        wrong(&|arrays| arrays[0].values[0] = f32::NAN, "not finite");
        wrong(&|arrays| _ = arrays.remove(1), "there is no array");
        wrong(&|arrays| arrays[0] = Array::new(&arrays[0].name, vec![1, 1], vec![0.0]), "allowed: [");
    }
    // Another file with a header of its own.
    std::fs::write(&path, array::encode_sealed(&[], "{}").unwrap()).unwrap();
    assert!(Predictor::read(&path).err().unwrap().to_string().contains("format"));
    assert!(Predictor::read(Path::new("/nowhere/predictor")).err().unwrap().to_string().contains("/nowhere/predictor"));
    let none = Config { policy: PolicyName::Learnt, ..Config::default() };
    assert!(none.check().unwrap_err().to_string().contains("predictor"));
    for config in [NetworkConfig::DeepSet { width: 12, blocks: 1 }, NetworkConfig::SetTransformer { width: 16, blocks: 1, heads: 3 }] {
        assert!(config.check().is_err());
    }
}

/// What phones knew, and an epidemic under a learnt policy, are the same with any number of threads.
#[test]
fn threads_change_nothing() {
    let config = NETWORKS[1];
    let run = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let predictor = Predictor::new("mine", config, &weights(config), CALIBRATED).unwrap();
            let collector = Arc::new(Collector::new(Arc::new(predictor), Sampling { follow: 0.5, share: 0.2, well: 0.5 }, Random(1)));
            let config = Config { people: 3_000, days: 15, initially_infected: 0.02, ..Config::default() };
            let mut simulation = Simulation::with_policy(&config, Some(collector.clone())).unwrap();
            let days = simulation.run().unwrap().to_vec();
            let found = collector.take();
            assert!(found.iter().any(|phone| phone.exposure.is_some()) && found.iter().any(|phone| phone.tomorrow > 0.0));
            (days, found.iter().map(|phone| (phone.person, phone.day, phone.mailbox, phone.truth, phone.exposure)).collect::<Vec<_>>())
        })
    };
    let one = run(1);
    assert!(one.0.iter().any(|day| day.levels[2..].iter().any(|count| *count > 0)));
    assert!([2, 8].into_iter().all(|threads| run(threads) == one));
}
