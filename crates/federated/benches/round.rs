//! A round of FedDyn: 100 clients of 600 MNIST images each, 784-200-200-10, 5 epochs of batches of 50. Prints JSON lines.

use std::time::Instant;

use lyceum_core::Seed;
use lyceum_data::{Cache, partition, prepare::DataConfig};
use lyceum_federated::{Client, FedDyn, LocalConfig, NetworkTrainer, Rules, Simulation};
use lyceum_train::{ModelConfig, Plain, cpu, parallel};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // As the program does.
    // SAFETY: sets `mi_option_purge_delay`, a number.
    unsafe { libmimalloc_sys::mi_option_set(15, 10_000) };
    parallel::enlist_this_thread();
    let config = DataConfig { held_out: 0.0, ..DataConfig::named("mnist") };
    let mut data = config.prepare(&Cache::locate(), Seed::new(1)).expect("MNIST");
    data.train.inputs.mapv_inplace(|x| (x - 0.1307) / 0.3081);
    let parts = partition::even(data.train.len(), 100, &mut Seed::new(1).stream("bench"));
    let model = ModelConfig::Mlp { hidden: vec![200, 200], dropout: 0.0 }.init(data.extent, 10, Seed::new(1), &cpu());
    let local = LocalConfig::default();
    let trainer = NetworkTrainer::new(model, &data.train, &parts, 10, local, Box::new(|| Box::new(Plain))).expect("a plain network");
    let clients = Client::all(&parts.iter().map(Vec::len).collect::<Vec<_>>());
    let method = FedDyn { alpha: 0.01, by_share: true };
    let simulation = Simulation { rules: Rules::new(&method, Seed::new(1)), trainer: &trainer, clients: &clients, keep_models: false };
    let mut world = simulation.start(trainer.initial());
    for _ in 0..2 {
        let start = Instant::now();
        let round = simulation.round(&mut world).expect("a round");
        println!("{{\"work\": \"round\", \"peer\": \"lyceum\", \"seconds\": {}, \"loss\": {}}}", start.elapsed().as_secs_f64(), round.loss);
    }
}
