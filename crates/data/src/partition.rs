//! Examples spread over clients, for federated learning: evenly, with uneven classes, with uneven sizes.

use lyceum_core::{Error, Result, memory};
use rand::{Rng, RngExt, seq::SliceRandom};
use rand_distr::{Distribution, Gamma, LogNormal};

/// Evenly and at random: sizes differ by at most one.
pub fn even(n: usize, clients: usize, rng: &mut impl Rng) -> Vec<Vec<usize>> {
    let order = crate::split::permutation(n, rng);
    deal(&order, &vec![1.0; clients])
}

/// Sizes follow a log-normal law: client i has a share of the examples proportional to exp(σ zᵢ), zᵢ standard normal.
/// Every client gets at least one example where there are enough.
pub fn log_normal(n: usize, clients: usize, sigma: f64, rng: &mut impl Rng) -> Result<Vec<Vec<usize>>> {
    let law = LogNormal::new(0.0, sigma).map_err(|_| Error::invalid("sigma", sigma, "a finite number >= 0"))?;
    let weights: Vec<f64> = (0..clients).map(|_| law.sample(rng)).collect();
    Ok(deal(&crate::split::permutation(n, rng), &weights))
}

/// Every client has its own mixture of classes, drawn from a symmetric Dirichlet law with concentration `alpha`, and
/// as many examples as the others (to within one). A client draws class after class from its mixture; a class that is
/// used up is left out of all mixtures from then on. This is the scheme of the FedDyn experiments (Acar et al. 2021).
pub fn dirichlet(labels: &[usize], clients: usize, alpha: f64, rng: &mut impl Rng) -> Result<Vec<Vec<usize>>> {
    let sizes: Vec<usize> = (0..clients).map(|client| labels.len() / clients + usize::from(client < labels.len() % clients)).collect();
    dirichlet_of_sizes(labels, &sizes, alpha, rng)
}

/// The same with as many examples a client as `sizes` says; examples beyond their sum are left out.
pub fn dirichlet_of_sizes(labels: &[usize], sizes: &[usize], alpha: f64, rng: &mut impl Rng) -> Result<Vec<Vec<usize>>> {
    let clients = sizes.len();
    let law = Gamma::new(alpha, 1.0).map_err(|_| Error::invalid("alpha", alpha, "a finite number > 0"))?;
    let classes = labels.iter().max().map_or(0, |max| max.saturating_add(1));
    memory::check("labels and clients", &[classes, clients.saturating_mul(2).saturating_add(6)])?;
    let mut left = vec![Vec::new(); classes];
    for position in crate::split::permutation(labels.len(), rng) {
        left[labels[position]].push(position);
    }
    let mixtures: Vec<Vec<f64>> = (0..clients)
        // A gamma draw with a tiny shape can be 0 for every class at once; one class is then drawn instead.
        .map(|_| {
            let mut mixture: Vec<f64> = (0..classes).map(|_| law.sample(rng)).collect();
            if mixture.iter().sum::<f64>() <= 0.0 && classes > 0 {
                mixture[rng.random_range(0..classes)] = 1.0;
            }
            mixture
        })
        .collect();
    let mut parts = vec![Vec::new(); clients];
    // Clients take turns, so that no client is left with what the others did not want; one that has all it gets is passed over.
    let rounds = sizes.iter().copied().max().unwrap_or(0);
    for client in (0..rounds).flat_map(|round| (0..clients).filter(move |&client| round < sizes[client])) {
        let weight = |class: usize| if left[class].is_empty() { 0.0 } else { mixtures[client][class] };
        let total: f64 = (0..classes).map(weight).sum();
        let class = if total > 0.0 {
            let mut rest = rng.random::<f64>() * total;
            (0..classes).filter(|&class| weight(class) > 0.0).find(|&class| {
                rest -= weight(class);
                rest < 0.0
            })
        } else {
            None
        };
        let class = class.or_else(|| (0..classes).filter(|&class| !left[class].is_empty()).max_by_key(|&class| left[class].len()));
        if let Some(position) = class.and_then(|class| left[class].pop()) {
            parts[client].push(position);
        }
    }
    Ok(parts)
}

/// Each client gets `shards` pieces of the examples sorted by label, so that it sees few classes (McMahan et al. 2017).
pub fn shards(labels: &[usize], clients: usize, shards: usize, rng: &mut impl Rng) -> Vec<Vec<usize>> {
    let mut order = crate::split::permutation(labels.len(), rng);
    order.sort_by_key(|&position| labels[position]);
    let mut pieces = deal(&order, &vec![1.0; clients * shards]);
    pieces.shuffle(rng);
    pieces.chunks(shards.max(1)).map(<[Vec<usize>]>::concat).collect()
}

/// Cuts an order into consecutive pieces in proportion to the weights, none empty where there are enough examples.
fn deal(order: &[usize], weights: &[f64]) -> Vec<Vec<usize>> {
    let n = order.len();
    let spare = n.saturating_sub(weights.len()) as f64;
    let at_least = usize::from(n >= weights.len());
    let total: f64 = weights.iter().sum();
    let mut sum = 0.0;
    let mut start = 0;
    let pieces = weights.iter().enumerate().map(|(index, weight)| {
        sum += weight;
        let spread = if at_least == 1 { spare } else { n as f64 };
        let end =
            if index + 1 == weights.len() { n } else { (at_least * (index + 1) + (spread * sum / total).round() as usize).clamp(start, n) };
        let piece = order[start..end].to_vec();
        start = end;
        piece
    });
    pieces.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_core::Seed;
    use proptest::prelude::*;

    fn covers(parts: &[Vec<usize>], n: usize) -> bool {
        let mut all = parts.concat();
        all.sort_unstable();
        all == (0..n).collect::<Vec<_>>()
    }

    proptest! {
        #[test]
        fn every_example_has_one_client(seed: u64, n in 0_usize..400, clients in 1_usize..20, alpha in 0.01..10.0_f64, sigma in 0.0..2.0_f64) {
            let labels: Vec<usize> = (0..n).map(|i| i % 7).collect();
            let rng = || Seed::new(seed).stream("partition");
            let parts = [
                even(n, clients, &mut rng()),
                log_normal(n, clients, sigma, &mut rng()).unwrap(),
                dirichlet(&labels, clients, alpha, &mut rng()).unwrap(),
                shards(&labels, clients, 2, &mut rng()),
            ];
            for (which, parts) in parts.iter().enumerate() {
                prop_assert!(covers(parts, n), "{which}");
                prop_assert_eq!(parts.len(), clients);
            }
            let sizes = |which: usize| parts[which].iter().map(Vec::len);
            prop_assert!(sizes(0).max().unwrap() - sizes(0).min().unwrap() <= 1);
            prop_assert!(sizes(2).max().unwrap() - sizes(2).min().unwrap() <= 1);
            prop_assert!(n < clients || sizes(1).min().unwrap() >= 1);
        }
    }

    #[test]
    fn a_small_concentration_gives_few_classes_a_client() {
        let labels: Vec<usize> = (0..10_000).map(|i| i % 10).collect();
        let dominance = |alpha| {
            let parts = dirichlet(&labels, 100, alpha, &mut Seed::new(5).stream("x")).unwrap();
            let top = |part: &Vec<usize>| (0..10).map(|class| part.iter().filter(|&&p| labels[p] == class).count()).max().unwrap();
            parts.iter().map(top).sum::<usize>() as f64 / 10_000.0
        };
        let (skewed, mild) = (dominance(0.1), dominance(100.0));
        assert!(skewed > 0.5 && mild < 0.25, "{skewed} {mild}");
    }

    #[test]
    fn sizes_are_kept() {
        let labels: Vec<usize> = (0..100).map(|i| i % 5).collect();
        let sizes = [50, 1, 0, 30, 15];
        let parts = dirichlet_of_sizes(&labels, &sizes, 0.3, &mut Seed::new(5).stream("x")).unwrap();
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
        let mut all = parts.concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 96);
    }

    #[test]
    fn impossible_parameters_are_refused() {
        let rng = &mut Seed::new(0).stream("x");
        assert!(dirichlet(&[0, 1], 2, 0.0, rng).is_err());
        assert!(dirichlet(&[0, 1], 2, f64::NAN, rng).is_err());
        assert!(log_normal(10, 2, f64::INFINITY, rng).is_err());
    }
}
